"""Which 5-block CNN, trained from scratch, is best on the ten classes of iNaturalist 12K?

python sweeps/inat_bayes.py [--cluster NAME]

The Bayesian search of report 000, part A, question 2: 11 hyperparameters, 50 configurations.
Cost: see --dry-run. The report's best: 36.10 % on test. Ours: not run yet.
"""

from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return one row, in which everything is searched."""
    base = TrainConfig(
        dataset="inat10", image_size=224, optimizer="adam", validation_fraction=0.1, epochs=15
    )
    search = {
        "lr": tune.choice([0.0001, 0.0002, 0.0004]),
        "activation": tune.choice(["relu", "tanh", "leaky_relu"]),
        "filters": tune.choice([(32,), (64,), (128,), (256,)]),
        "kernel_size": tune.choice([(3,), (5,), (7,)]),
        "filter_growth": tune.choice([2.0, 1.0]),
        "batch_size": tune.choice([100, 200]),
        "dropout": tune.choice([0.2, 0.3, 0.4, 0.5]),
        "dense_width": tune.choice([(256,), (128,), (64,)]),
        "augmentation": tune.choice([("horizontal_flip", "rotation"), ()]),
        "epochs": tune.choice([10, 5, 15]),
        "batch_norm": tune.choice([True, False]),
    }
    return Sweep(base=base, rows=[{"model": "cnn"}], search=search, trials=50)


if __name__ == "__main__":
    main(sweep)
