"""RandAugment: each image has its own changes; a change is computed for all its images at once."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from fieldtrial.training.augment.color import blend, grey, smooth
from fieldtrial.training.augment.drawing import send
from fieldtrial.training.augment.warp import rotations, warp

CHANGES_EACH = 2
STRENGTH = 0.3  # of the maximum: 9 of 30 levels
TURN = 30.0 * STRENGTH  # degrees
SHEAR = 0.3 * STRENGTH
SHIFT = 150 / 331 * STRENGTH  # of the side
SHARE = 0.9 * STRENGTH  # of a blend, more or less

# From images (n, channels, height, width) and signs (n,), 1 or -1, on the CPU, to changed images.
Change = Callable[[Tensor, Tensor], Tensor]


def rand_augment(images: Tensor, numbers: Tensor) -> Tensor:
    """Return float images (n, 1 or 3, h, w) in [0, 1] after two random changes each, out of 14.

    E. D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
    space", 2019, with torchvision's N = 2 and M = 9 of 30. Unlike torchvision's, rotation, shear
    and shift interpolate, and shear is about the centre.

    numbers: (2 * CHANGES_EACH, n), uniform in [0, 1), on the CPU.
    """
    images = images.clone()
    for which, sign in numbers.view(CHANGES_EACH, 2, len(images)):
        chosen = (which * len(CHANGES)).long().clamp(max=len(CHANGES) - 1)
        signs, order = (sign < 0.5) * 2.0 - 1, chosen.argsort()
        counts = chosen.bincount(minlength=len(CHANGES)).tolist()
        parts = zip(
            torch.split(send(order, images), counts),
            torch.split(signs[order], counts),
            strict=True,
        )
        for change, (places, own_signs) in zip(CHANGES, parts, strict=True):
            if len(places):
                images[places] = change(images[places], own_signs)
    return images


def _maps(signs: Tensor, *entries: tuple[int, int, float]) -> Tensor:
    """Return an identity map for each sign, plus size × sign at the entries (row, column, size)."""
    maps = torch.eye(2, 3).repeat(len(signs), 1, 1)
    for row, column, size in entries:
        maps[:, row, column] += size * signs
    return maps


def _rotate(images: Tensor, signs: Tensor) -> Tensor:
    return warp(images, rotations(signs * math.radians(TURN), *images.shape[2:]))


def _mean_luma(images: Tensor) -> Tensor:
    return grey(images.mean((2, 3), keepdim=True))


def _blend_with(other: Callable[[Tensor], Tensor]) -> Change:
    return lambda images, signs: blend(images, other(images), 1 + SHARE * signs)


CHANGES: tuple[Change, ...] = (
    lambda images, _: images,
    lambda images, _: vision.autocontrast(images),
    lambda images, _: vision.equalize(images),
    lambda images, _: vision.solarize(images, 1 - STRENGTH),
    lambda images, _: vision.posterize(images, 8 - round(4 * STRENGTH)),
    _blend_with(torch.zeros_like),  # brightness
    _blend_with(_mean_luma),  # contrast
    _blend_with(grey),  # colour
    _blend_with(smooth),  # sharpness
    _rotate,
    lambda images, signs: warp(images, _maps(signs, (0, 1, SHEAR))),
    lambda images, signs: warp(images, _maps(signs, (1, 0, SHEAR))),
    lambda images, signs: warp(images, _maps(signs, (0, 2, 2 * SHIFT))),  # a side is 2 long
    lambda images, signs: warp(images, _maps(signs, (1, 2, 2 * SHIFT))),
)
