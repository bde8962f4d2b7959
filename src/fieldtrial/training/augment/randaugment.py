"""RandAugment: each image has its own changes; a change is computed for all its images at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from fieldtrial.training.augment.color import blend, grey, smooth

CHANGES_EACH = 2
STRENGTH = 0.3  # of the maximum: 9 of 30 levels
TURN = 30.0 * STRENGTH  # degrees
SHEAR = 0.3 * STRENGTH
SHIFT = 150 / 331 * STRENGTH  # of the side
SHARE = 0.9 * STRENGTH  # of a blend, more or less

# From images (n, channels, height, width) and signs (n,), 1 or -1, to the changed images.
Change = Callable[[Tensor, Tensor], Tensor]


def rand_augment(images: Tensor) -> Tensor:
    """Return float images (n, 1 or 3, h, w) in [0, 1] after two random changes each, out of 14.

    E. D. Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
    space", 2019, with torchvision's N = 2 and M = 9 of 30. Unlike torchvision's, rotation, shear
    and shift interpolate, and shear is about the centre. Numbers are drawn from the default
    generator, on the CPU.
    """
    images = images.clone()
    for _ in range(CHANGES_EACH):
        chosen = torch.randint(len(CHANGES), (len(images),))
        signs = torch.randint(2, (len(images),)) * 2.0 - 1
        for number, change in enumerate(CHANGES):
            places = (chosen == number).nonzero().flatten()
            if len(places):
                on_device = places.to(images.device)
                images[on_device] = change(images[on_device], signs[places])
    return images


def _warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Return the images warped by maps (n, 2, 3) from result to image coordinates, -1 to 1."""
    grid = functional.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _maps(signs: Tensor, *entries: tuple[int, int, float]) -> Tensor:
    """Return an identity map for each sign, plus size × sign at the entries (row, column, size)."""
    maps = torch.eye(2, 3).repeat(len(signs), 1, 1)
    for row, column, size in entries:
        maps[:, row, column] += size * signs
    return maps


def _rotate(images: Tensor, signs: Tensor) -> Tensor:
    angle = torch.deg2rad(torch.tensor(TURN))
    maps = _maps(signs, (0, 1, -float(angle.sin())), (1, 0, float(angle.sin())))
    maps[:, 0, 0] = maps[:, 1, 1] = angle.cos()
    return _warp(images, maps)


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
    lambda images, signs: _warp(images, _maps(signs, (0, 1, SHEAR))),
    lambda images, signs: _warp(images, _maps(signs, (1, 0, SHEAR))),
    lambda images, signs: _warp(images, _maps(signs, (0, 2, 2 * SHIFT))),  # a side is 2 long
    lambda images, signs: _warp(images, _maps(signs, (1, 2, 2 * SHIFT))),
)
