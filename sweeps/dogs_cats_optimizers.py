"""Which optimiser is best for a three-block CNN on dogs and cats?

python sweeps/dogs_cats_optimizers.py --data-root DIR    (the Kaggle archive; an account is needed)

Report 003, question 3a: one image at a time is the slowest and the best, nearly 70 % on test.
Without batch normalisation, which says little of batches of one image. Cost: see --dry-run. Ours:
not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return a row for each optimiser of the report, and for Nesterov's momentum."""
    base = TrainConfig(
        dataset="dogs_vs_cats", image_size=128, model="cnn", blocks=3, filters=(32,),
        filter_growth=2.0,
        batch_norm=False, epochs=15,
    )  # fmt: skip
    return Sweep(
        base=base,
        rows=[
            {"optimizer": "sgd", "momentum": 0.0, "batch_size": 1},
            {"optimizer": "sgd", "momentum": 0.0, "batch_size": 64},
            {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64},
            {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64, "nesterov": True},
            {"optimizer": "adam", "batch_size": 64},
        ],
        search={"lr": loguniform(1e-4, 1e-1)},
        trials=6,
    )


if __name__ == "__main__":
    main(sweep)
