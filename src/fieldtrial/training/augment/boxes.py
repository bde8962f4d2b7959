"""Augmentation of images with boxes: what moves the image moves its boxes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fieldtrial.training.augment.drawing import draw, places, send
from fieldtrial.training.augment.transforms import COMPUTED
from fieldtrial.training.augment.warp import warp, windows

GREY = 0.5  # what comes in at the border, as in a letterbox
LEFT = 0.1  # of its area must be in the image, or a box is gone
SHIFT, ZOOM = 0.1, 0.1  # affine: of the side, more or less
AREA, ASPECT = (0.3, 1.0), (3 / 4, 4 / 3)  # random_resized_crop: of the window
NO_BOX = -1.0


@dataclass(frozen=True)
class Move:
    """A random change that moves boxes.

    Attributes:
        numbers: how many random numbers it takes for each image.
        apply: from images (n, channels, height, width), targets (n, most, 5) and random numbers
            (numbers, n), uniform in [0, 1) and on the CPU, to changed images and targets.
    """

    numbers: int
    apply: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@torch.no_grad()
def augment_boxes(
    images: Tensor, targets: Tensor, names: tuple[str, ...], seed: int
) -> tuple[Tensor, Tensor]:
    """Return images and targets after the changes `names`, in order.

    A box is cut at the border of the image; one of which less than LEFT of the area is inside
    becomes padding. Equal arguments give equal results, on the CPU and on a GPU, and the state of
    the global generators stays.

    Args:
        images: float (n, channels, height, width) in [0, 1].
        targets: float (n, most, 5): class, or -1 for padding, and the box's centre, width and
            height in shares of the image.
        names: keys of MOVES, or of COLOURS.
        seed: from 0 to 2**64 - 1.
    """
    changes = [MOVES.get(name) or COMPUTED[name] for name in names]
    drawn = draw([change.numbers for change in changes], len(images), seed)
    for change, numbers in zip(changes, drawn, strict=True):
        if isinstance(change, Move):
            images, targets = change.apply(images, targets, numbers)
        else:
            images = change.apply(images, numbers)
    return images, targets


def _flip(
    images: Tensor, targets: Tensor, numbers: Tensor, dimension: int, column: int
) -> tuple[Tensor, Tensor]:
    """Mirror every second image, on average, and the centres of its boxes in `column`."""
    where = places(numbers[0] < 0.5, images)
    images = images.index_copy(0, where, images[where].flip(dimension))
    mirrored = targets[where]
    mirrored[..., column] = 1 - mirrored[..., column]
    return images, targets.index_copy(0, where, mirrored)


def window(images: Tensor, targets: Tensor, starts: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return a window of each image, resized to the whole, and the boxes in it.

    starts, sizes: (n, 2), the window's left top corner, and its width and height, in shares of the
    image, on the CPU. What lies outside of the image is GREY.
    """
    moved = warp(images - GREY, windows(starts, sizes)) + GREY
    starts, sizes = send(starts, images), send(sizes, images)
    low = (targets[..., 1:3] - targets[..., 3:] / 2 - starts[:, None]) / sizes[:, None]
    high = (targets[..., 1:3] + targets[..., 3:] / 2 - starts[:, None]) / sizes[:, None]
    inner = torch.cat([low.clamp(0, 1), high.clamp(0, 1)], 2)
    area = (high - low).prod(2)
    sides = inner[..., 2:] - inner[..., :2]
    kept = (targets[..., 0] >= 0) & (area > 0) & (sides.prod(2) >= LEFT * area)
    boxes = torch.cat([(inner[..., :2] + inner[..., 2:]) / 2, sides], 2)
    changed = torch.cat([targets[..., :1], boxes], 2)
    padding = torch.zeros_like(changed)
    padding[..., 0] = NO_BOX
    return moved, torch.where(kept[..., None], changed, padding)


def _affine(images: Tensor, targets: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    drawn = 2 * numbers.T - 1
    sizes = 1 / (1 + ZOOM * drawn[:, :1]).expand(-1, 2)
    return window(images, targets, (1 - sizes) / 2 + SHIFT * drawn[:, 1:], sizes)


def _random_resized_crop(images: Tensor, targets: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    area = AREA[0] + (AREA[1] - AREA[0]) * numbers[0]
    low, high = map(math.log, ASPECT)
    aspect = (low + (high - low) * numbers[1]).exp()
    sizes = torch.stack([area * aspect, area / aspect], 1).sqrt().clamp(max=1)
    return window(images, targets, numbers[2:].T * (1 - sizes), sizes)


MOVES: dict[str, Move] = {
    # every second image, on average
    "horizontal_flip": Move(1, partial(_flip, dimension=3, column=1)),
    "vertical_flip": Move(1, partial(_flip, dimension=2, column=2)),
    # a shift by up to 10 % of the side and a scale of 0.9 to 1.1; grey comes in at the border
    "affine": Move(3, _affine),
    # a window of 30 to 100 % of the area, sides 3:4 to 4:3, resized to the whole
    "random_resized_crop": Move(4, _random_resized_crop),
}
COLOURS = ("color_jitter", "sharpness", "grayscale")
