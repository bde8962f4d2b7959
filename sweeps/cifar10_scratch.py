"""How good is a ResNet-18 on CIFAR-10 from random weights?

python sweeps/cifar10_scratch.py [--cluster NAME]    (CIFAR-10 is downloaded)

Report 002, question 2a, at its settings: 96.33 % on train, 77.29 % on test (75 to 78 in repeated
runs). Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return one row without a search, and five seeds for the spread."""
    return Sweep(
        base=TrainConfig(
            dataset="cifar10",
            model="resnet18",
            epochs=30,
            patience=6,
            batch_size=128,
            gradient_clip=0.1,
            weight_decay=1e-4,
            optimizer="sgd",
            lr=0.01,
            schedule="cosine",
        ),
        rows=[{"model": "resnet18"}],
        seeds=5,
    )


if __name__ == "__main__":
    main(sweep)
