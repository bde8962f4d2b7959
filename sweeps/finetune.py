"""Which model, frozen how deep, with which optimiser and batch size, is best on your own images?

python sweeps/finetune.py --set dataset=folder:PATH [--cluster NAME]    (or inat10, cifar10, ...)

The table that this project is made for: models x freezing schemes x optimisers x batch sizes.
Cost: see --dry-run.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return 2 models x 3 freezing schemes x 2 optimisers x 2 batch sizes."""
    return Sweep(
        base=TrainConfig(
            dataset="inat10", weights="imagenet", epochs=10, schedule="cosine", warmup_fraction=0.05
        ),
        rows=grid(
            model=["resnet18", "resnet50"],
            freeze=["none", "all_but_last:3", "all_but_head"],
            optimizer=["sgd", "adamw"],
            batch_size=[32, 128],
        ),
        search={"lr": loguniform(1e-5, 1e-1), "weight_decay": loguniform(1e-6, 1e-2)},
        trials=8,
        seeds=3,
    )


if __name__ == "__main__":
    main(sweep)
