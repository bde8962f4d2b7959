"""A small network of stages, each half as wide as the next and at twice its resolution."""

import itertools

from torch import Tensor, nn

from fieldtrial.training.contracts import DataShape


class Stages(nn.Module):
    """A classifier of images of any size.

    Args:
        shape: of the data: classes, channels and image_size.
        width: channels of the first stage.
        count: how many stages there are.
    """

    def __init__(self, shape: DataShape, width: int = 8, count: int = 2) -> None:
        super().__init__()
        widths = [shape.channels, *(width * 2**number for number in range(count))]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in itertools.pairwise(widths)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classify = nn.Linear(widths[-1], shape.classes)
        # Neither attribute is needed: the head is the last linear layer in any case, and without
        # blocks each convolution with its norm would be a unit of its own.
        self.head = "classify"
        self.blocks = [f"stages.{number}" for number in range(count)]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, channels, side, side)."""
        for stage in self.stages:
            images = self.pool(stage(images))
        logits: Tensor = self.classify(images.mean((2, 3)))
        return logits
