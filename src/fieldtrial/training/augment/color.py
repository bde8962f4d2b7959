"""Colour augmentation: each image has its own change, all are computed in one pass."""

import functools
import math

import torch
from torch import Tensor

from fieldtrial.training.augment.drawing import send

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey
YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def blend(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return share × images + (1 − share) × other, clipped to [0, 1].

    Args:
        images: float (n, channels, height, width) in [0, 1].
        other: as `images`, or a tensor that broadcasts to it.
        share: (n,), on the CPU; above 1 it extrapolates away from `other`.
    """
    share = send(share, images).view(-1, 1, 1, 1)
    return torch.lerp(other.expand_as(images), images, share).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """Return the luma (n, 1, height, width) of images (n, 1 or 3, height, width)."""
    if images.shape[1] == 1:
        return images
    return LUMA[0] * images[:, :1] + LUMA[1] * images[:, 1:2] + LUMA[2] * images[:, 2:]


def smooth(images: Tensor) -> Tensor:
    """Return the images smoothed as Pillow does: each inner pixel is averaged with its neighbours.

    A pixel weighs 5, each of its eight neighbours 1. Sums of slices take a quarter of a
    convolution's time on a CPU.
    """
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    squares = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smoothed = images.clone()
    smoothed[:, :, 1:-1, 1:-1].mul_(4).add_(squares).div_(13)
    return smoothed


def jitter(
    images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor
) -> Tensor:
    """Return the images with brightness, contrast and saturation scaled, and hues rotated.

    All four arguments are (n,), on the CPU; `hue` is in turns. Brightness scales a pixel, contrast
    its distance from the mean luma, saturation its distance from the luma. Hue rotates in the plane
    of equal luma (YIQ). So all four are linear in a pixel, and together one matrix and one offset
    for each image; the result is clipped to [0, 1] once. torchvision rotates hue in HSV, and clips
    four times.
    """
    n, channels, height, width = images.shape
    mean = grey(images.mean((2, 3), keepdim=True)).view(n, 1, 1)
    offset = send(brightness * (1 - contrast), images).view(n, 1, 1) * mean
    matrix = _saturation(saturation) @ _hue(hue) if channels == 3 else torch.ones(n, 1, 1)
    scaled = send((brightness * contrast).view(n, 1, 1) * matrix, images)
    changed: Tensor = torch.baddbmm(offset, scaled, images.flatten(2))
    return changed.clamp_(0, 1).view(n, channels, height, width)


def _saturation(factors: Tensor) -> Tensor:
    factors = factors.view(-1, 1, 1)
    return factors * torch.eye(3) + (1 - factors) * torch.tensor(LUMA).expand(3, 3)


def _hue(turns: Tensor) -> Tensor:
    (to_yiq, from_yiq), angles = _yiq(), 2 * math.pi * turns
    turn = torch.eye(3).repeat(len(turns), 1, 1)
    turn[:, 1, 1] = turn[:, 2, 2] = angles.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -angles.sin(), angles.sin()
    return from_yiq @ turn @ to_yiq


@functools.cache
def _yiq() -> tuple[Tensor, Tensor]:
    """Return the matrices from RGB to YIQ and back."""
    return torch.tensor(YIQ), torch.linalg.inv(torch.tensor(YIQ))
