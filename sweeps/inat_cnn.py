"""Which 5-block CNN from scratch is best on iNaturalist 12K, with a fifth of train for validation?

python sweeps/inat_cnn.py [--cluster NAME]

The Bayesian search of report 001, part A, question 2: equal or doubling filters. Its best, 44.05 %
on test, is outside of that search: filters halve from 512 to 32, without dropout. Both are among
the choices here. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import choice
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return one row, in which everything is searched."""
    same = [(first,) * 5 for first in (16, 32, 64)]
    doubling = [tuple(first * 2**block for block in range(5)) for first in (16, 32, 64)]
    search = {
        "filters": choice([*same, *doubling, (512, 256, 128, 64, 32)]),
        "kernel_size": choice([(3,), (5,)]),
        "activation": choice(["relu", "gelu", "silu"]),
        "dense_width": choice([(128,), (256,), (384,), (512,)]),
        "dropout": choice([0.0, 0.2, 0.3, 0.5]),
        "lr": choice([0.0001, 0.001]),
        "batch_norm": choice([True, False]),
        "batch_size": choice([16, 32]),
        "augmentation": choice([("horizontal_flip", "rotation"), ()]),
    }
    base = TrainConfig(
        dataset="inat10", image_size=224, validation_fraction=0.2,
        optimizer="adam", epochs=15, patience=5,
    )  # fmt: skip
    return Sweep(base=base, rows=[{"model": "cnn"}], search=search, trials=50)


if __name__ == "__main__":
    main(sweep)
