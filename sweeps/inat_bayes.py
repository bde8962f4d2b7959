"""Which 5-block CNN, trained from scratch, is best on the ten classes of iNaturalist 12K?

python sweeps/inat_bayes.py [--cluster NAME]

The Bayesian search of report 000, part A, question 2: 11 hyperparameters, 50 configurations.
Cost: see --dry-run. The report's best: 36.10 % on test. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import choice
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return one row, in which everything is searched."""
    base = TrainConfig(
        dataset="inat10", image_size=224, optimizer="adam", validation_fraction=0.1, epochs=15
    )
    search = {
        "lr": choice([0.0001, 0.0002, 0.0004]),
        "activation": choice(["relu", "tanh", "leaky_relu"]),
        "filters": choice([(32,), (64,), (128,), (256,)]),
        "kernel_size": choice([(3,), (5,), (7,)]),
        "filter_growth": choice([2.0, 1.0]),
        "batch_size": choice([100, 200]),
        "dropout": choice([0.2, 0.3, 0.4, 0.5]),
        "dense_width": choice([(256,), (128,), (64,)]),
        "augmentation": choice([("horizontal_flip", "rotation"), ()]),
        "epochs": choice([10, 5, 15]),
        "batch_norm": choice([True, False]),
    }
    return Sweep(base=base, rows=[{"model": "cnn"}], search=search, trials=50)


if __name__ == "__main__":
    main(sweep)
