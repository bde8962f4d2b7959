"""How much of a pretrained ResNet-50 should be frozen on iNaturalist 12K?

python sweeps/inat_freezing.py [--cluster NAME]

Report 001, part B, question 2: its four strategies. It gives no figures. It found that freezing
the first few layers is best, and freezing all but the last few very poor.
Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import choice, loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each strategy, and two depths of those that have one."""
    schemes = ["none", "all_but_head", "first:2", "first:5", "all_but_last:2", "all_but_last:5"]
    return Sweep(
        base=TrainConfig(
            dataset="inat10",
            model="resnet50",
            weights="imagenet",
            validation_fraction=0.2,
            epochs=10,
            schedule="cosine",
        ),
        rows=grid(freeze=schemes),
        search={"lr": loguniform(1e-5, 1e-1), "optimizer": choice(["sgd", "adam"])},
        trials=8,
    )


if __name__ == "__main__":
    main(sweep)
