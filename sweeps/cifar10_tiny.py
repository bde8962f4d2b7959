"""Which augmentation helps a ResNet-18 from random weights on a small part of CIFAR-10?

python sweeps/cifar10_tiny.py [--cluster NAME]    (CIFAR-10 is downloaded)

Report 002, question 2c: the augmentations that it kept, those that it dropped, none, and dropout of
0.2 in the blocks. It reached 45 % on test once, and crossed 50 % once. It does not say how many
images it used; here 50 per class. Cost: see --dry-run. Ours: not run yet.
"""

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.search_domains import loguniform
from fieldtrial.sweep import Sweep, grid


def sweep() -> Sweep:
    """Return 3 sets of augmentations x (without dropout, with it)."""
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
        search={"lr": loguniform(1e-3, 1e-1)},
    )


if __name__ == "__main__":
    main(sweep)
