"""Which augmentation helps a ResNet-18 from random weights on a small part of CIFAR-10?

python sweeps/cifar10_tiny.py [--cluster NAME]    (CIFAR-10 is downloaded)

Report 002, question 2c: the changes that it kept, those that it dropped, none, and dropout of 0.2
in the blocks. It hit 45 % on test once, and crossed 50 % once; how many images it had it does not
say: here 50 of each class. Ours: not run.
"""

from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return 3 sets of changes x (without dropout, with it)."""
    base = TrainConfig(
        dataset="cifar10", images_per_class=50, model="resnet18", epochs=100, patience=20,
        batch_size=128,
        gradient_clip=0.1, weight_decay=1e-4, optimizer="sgd", schedule="cosine",
    )  # fmt: skip
    return Sweep(
        base=base,
        rows=grid(
            augmentation=[
                (),
                ("affine", "sharpness", "color_jitter", "horizontal_flip"),
                ("crop", "rotation", "vertical_flip", "grayscale"),
            ],
            block_dropout=[0.0, 0.2],
        ),
        search={"lr": tune.loguniform(1e-3, 1e-1)},
    )


if __name__ == "__main__":
    main(sweep)
