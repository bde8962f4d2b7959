"""How many of ResNet-18's last layers should be fine-tuned on CIFAR-10, and with which optimiser?

python sweeps/cifar10_finetune.py [--cluster NAME]    (CIFAR-10 is downloaded)

Report 002, question 2b, on test: last 4 layers with Adam 78.29 %, last 6 79.57, last 5 with SGD and
cosine 81.6, with Adam 88.27. It does not say what it counts as a layer; here it is a residual
block, or the head. It names five settings and gives four; the fifth here trains all layers.
Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return the report's settings, a row each; nothing is searched."""
    base = TrainConfig(
        dataset="cifar10", model="resnet18", weights="imagenet", image_size=32, epochs=30,
        patience=5,
        batch_size=128, gradient_clip=0.1, weight_decay=1e-4, optimizer="adam", lr=0.001,
    )  # fmt: skip
    return Sweep(
        base=base,
        rows=[
            {"freeze": "all_but_last:4"},
            {"freeze": "all_but_last:6"},
            {"freeze": "all_but_last:5", "optimizer": "sgd", "lr": 0.01, "schedule": "cosine"},
            {"freeze": "all_but_last:5"},
            {"freeze": "none"},
        ],
    )


if __name__ == "__main__":
    main(sweep)
