"""How does the size of the mini-batch change what a three-block CNN learns of dogs and cats?

python sweeps/dogs_cats_batches.py --data-root DIR    (the Kaggle archive; an account is needed)

Report 003, question 3b: of 512, 1024 and 2048 the smallest is the most accurate; it has plots only.
Here 64 too. Unlike dogs_cats_optimizers, with batch normalisation: the report names none. The
records hold the gradient's norm and the size of the updates. Cost: see --dry-run. Ours: not run
yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each size, at one learning rate, as in the report."""
    return Sweep(
        base=TrainConfig(
            dataset="dogs_vs_cats",
            image_size=128,
            model="cnn",
            blocks=3,
            filters=(32,),
            filter_growth=2.0,
            optimizer="adam",
            epochs=15,
        ),
        rows=grid(batch_size=[64, 512, 1024, 2048]),
    )


if __name__ == "__main__":
    main(sweep)
