"""Warping: each image is sampled at the places that an affine map of its own leads to."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fieldtrial.training.augment.drawing import send
from fieldtrial.training.data.crops import AREA, ASPECT, TRIES

WINDOW_NUMBERS = 2 * TRIES + 2


def warp(images: Tensor, maps: Tensor, outside: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Return the images warped by maps (n, 2, 3) from result to image coordinates, on any device.

    Coordinates are x and y, from -1 to 1 between the outer borders of the image. Values are
    interpolated linearly. The result is as `functional.grid_sample` with `affine_grid` gives it:
    the grid is made by sums here, which at 224 pixels take a third of the time of its product.

    outside: what lies beyond the image: black, or its border's pixels.
    """
    n, _, height, width = images.shape
    maps = send(maps, images)[..., None, None]
    columns, rows = _centers(width, images), _centers(height, images)[:, None]
    grid = images.new_empty(n, height, width, 2)
    for axis in range(2):
        from_rows = maps[:, axis, 1] * rows + maps[:, axis, 2]  # (n, height, 1)
        torch.add(maps[:, axis, 0] * columns, from_rows, out=grid[..., axis])
    return functional.grid_sample(images, grid, padding_mode=outside, align_corners=False)


def _centers(side: int, images: Tensor) -> Tensor:
    """Return the coordinates (side,) of the centres of pixels along a side."""
    return (torch.arange(side, device=images.device) * 2 + 1) / side - 1


def scaled(factors: Tensor) -> Tensor:
    """Return maps (n, 2, 3) that scale about the centre: factors (n, 2) for x and y."""
    maps = factors.new_zeros(len(factors), 2, 3)
    maps[:, 0, 0], maps[:, 1, 1] = factors[:, 0], factors[:, 1]
    return maps


def windows(starts: Tensor, sizes: Tensor) -> Tensor:
    """Return maps (n, 2, 3) that enlarge windows to whole images.

    starts, sizes: (n, 2), the left top corner, and width and height, in shares of the image.
    """
    maps = scaled(sizes)
    maps[:, :, 2] = 2 * starts + sizes - 1
    return maps


def rotations(angles: Tensor, height: int, width: int) -> Tensor:
    """Return maps (n, 2, 3), as `warp` takes them, that turn by `angles` (n,) in radians."""
    maps = scaled(angles.cos()[:, None].expand(-1, 2))
    maps[:, 0, 1], maps[:, 1, 0] = -angles.sin() * height / width, angles.sin() * width / height
    return maps


def resized_windows(numbers: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return windows (starts, sizes), as `windows` takes them, for random-resized crops.

    As in torchvision's RandomResizedCrop (C. Szegedy et al., "Going Deeper with Convolutions",
    2014): of TRIES windows with a share of the area drawn from AREA and a ratio of width to height
    drawn from ASPECT, on a logarithmic scale, the first that fits is taken, and the whole image,
    a square, where none fits. Unlike there, windows are not rounded to whole pixels.

    numbers: (WINDOW_NUMBERS, n), uniform in [0, 1).
    """
    area = AREA[0] + (AREA[1] - AREA[0]) * numbers[:TRIES]
    low, high = map(math.log, ASPECT)
    ratio = torch.exp(low + (high - low) * numbers[TRIES : 2 * TRIES]) * (height / width)
    tried = torch.stack([area * ratio, area / ratio]).sqrt()  # (2, TRIES, n)
    fits = (tried <= 1).all(0)
    first = fits.int().argmax(0)  # of several that fit, the first
    sizes = tried.gather(1, first.expand(2, 1, -1))[:, 0].T
    sizes = torch.where(fits.any(0)[:, None], sizes, 1.0)
    return numbers[2 * TRIES :].T * (1 - sizes), sizes
