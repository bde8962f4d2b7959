"""Which backbone gives the most accuracy for its parameters, all frozen alike?

python sweeps/inat_backbones.py [--cluster NAME]
fieldtrial table runs/inat_backbones --show accuracy_per_million_parameters

Report 001, part B, question 3: models at one strategy. It gives no figures. It found only ViT-B/16
better than ResNet-50, and ResNets among the best for their parameters.
Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return a row for each model."""
    models = [
        "resnet18", "resnet50", "resnet101", "densenet161", "vgg16", "squeezenet1_1", "vit_b_16",
    ]  # fmt: skip
    base = TrainConfig(
        dataset="inat10", freeze="first:2", weights="imagenet", validation_fraction=0.2,
        epochs=10, schedule="cosine",
    )  # fmt: skip
    return Sweep(
        base=base,
        rows=grid(model=models),
        search={"lr": loguniform(1e-5, 1e-2), "weight_decay": loguniform(1e-6, 1e-2)},
        trials=8,
    )


if __name__ == "__main__":
    main(sweep)
