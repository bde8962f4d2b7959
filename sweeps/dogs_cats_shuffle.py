"""How much accuracy is lost if the images of dogs and cats always come in the same order?

python sweeps/dogs_cats_shuffle.py --data-root DIR    (the Kaggle archive; an account is needed)

Report 003, question 3c: shuffling raises the accuracy drastically; it has plots only. The order
without shuffling is class by class. Unlike dogs_cats_optimizers, with batch normalisation: the
report names none. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return two rows: shuffled, and not."""
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
        rows=grid(shuffle=[True, False]),
    )


if __name__ == "__main__":
    main(sweep)
