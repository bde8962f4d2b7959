"""How do Adam's betas change what a three-block CNN learns of dogs and cats?

python sweeps/dogs_cats_betas.py --data-root DIR    (the Kaggle archive; an account is needed)

Report 003, question 3d: a smaller beta 1 raises the accuracy, beta 2 hardly matters; it has plots
only. Unlike dogs_cats_optimizers, with batch normalisation: the report names none. The records hold
the gradient's norm and the size of the updates. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each pair, at one learning rate: beta 1 varies, then beta 2."""
    return Sweep(
        base=TrainConfig(
            dataset="dogs_vs_cats",
            image_size=128,
            model="cnn",
            blocks=3,
            filters=(32,),
            filter_growth=2.0,
            optimizer="adam",
            batch_size=512,
            epochs=15,
        ),
        rows=grid(
            betas=[(0.9, 0.999), (0.5, 0.999), (0.1, 0.999), (0.9, 0.99), (0.9, 0.9), (0.9, 0.5)]
        ),
    )


if __name__ == "__main__":
    main(sweep)
