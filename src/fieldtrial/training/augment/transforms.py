"""Augmentation: random changes of training images, batched, on their device, one per image."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fieldtrial.training.augment.color import blend, grey, jitter, smooth
from fieldtrial.training.augment.drawing import draw, places, send
from fieldtrial.training.augment.warp import (
    WINDOW_NUMBERS,
    resized_windows,
    rotations,
    warp,
    windows,
)

TURN = 15.0  # rotation: degrees, more or less
SHIFT, ZOOM = 0.1, 0.1  # affine: of the side, more or less
JITTER, HUE = 0.4, 0.1  # color_jitter: of a factor of 1, and in turns, more or less
GREY = 0.1  # grayscale: how many become grey


@dataclass(frozen=True)
class Change:
    """A random change.

    Attributes:
        numbers: how many random numbers it takes for each image.
        apply: from images (n, channels, height, width) and random numbers (numbers, n), uniform
            in [0, 1) and on the CPU, to the changed images. It never waits for a GPU: it computes
            with the numbers on the CPU, and sends what the device needs.
    """

    numbers: int
    apply: Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def augment(images: Tensor, names: tuple[str, ...], seed: int) -> Tensor:
    """Return `images` after the changes `names`, in order; shape, type and device stay.

    Equal arguments give equal images, on the CPU and on a GPU, and the state of the global
    generators stays.

    Args:
        images: float (n, channels, height, width) in [0, 1].
        names: keys of CHANGES.
        seed: from 0 to 2**64 - 1.
    """
    if not names:
        return images
    changes = [CHANGES[name] for name in names]
    drawn = draw([change.numbers for change in changes], len(images), seed)
    for change, numbers in zip(changes, drawn, strict=True):
        images = change.apply(images, numbers)
    return images


def _flip(images: Tensor, numbers: Tensor, dimension: int) -> Tensor:
    return _some(images, numbers[0] < 0.5, lambda chosen: chosen.flip(dimension))


def _some(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images with `change` applied to those that are `chosen`, bool (n,)."""
    where = places(chosen, images)
    return images.index_copy(0, where, change(images[where]))


def _crop(images: Tensor, numbers: Tensor) -> Tensor:
    n, _, height, width = images.shape
    down, right = _padding(height), _padding(width)
    padded = functional.pad(images, (right, right, down, down), mode="reflect")
    # A view of all windows, of which each image's is taken.
    every = padded.unfold(2, height, 1).unfold(3, width, 1)
    steps = torch.tensor([[2 * down + 1], [2 * right + 1]])
    tops, lefts = send((numbers * steps).long().minimum(steps - 1), images)
    return every[torch.arange(n, device=images.device), :, tops, lefts]


def _padding(side: int) -> int:
    return min(max(1, side // 8), side - 1)  # reflection has side - 1 pixels to give


def _random_resized_crop(images: Tensor, numbers: Tensor) -> Tensor:
    chosen = resized_windows(numbers, *images.shape[2:])
    return warp(images, windows(*chosen), outside="border")


def _rotation(images: Tensor, numbers: Tensor) -> Tensor:
    angles = torch.deg2rad(TURN * (2 * numbers[0] - 1))
    return warp(images, rotations(angles, *images.shape[2:]))


def _affine(images: Tensor, numbers: Tensor) -> Tensor:
    shifts, zooms = SHIFT * (2 * numbers[:2] - 1), 1 + ZOOM * (2 * numbers[2] - 1)
    sizes = (1 / zooms)[:, None].expand(-1, 2)
    return warp(images, windows((1 - sizes) / 2 - shifts.T * sizes, sizes))


def _color_jitter(images: Tensor, numbers: Tensor) -> Tensor:
    brightness, contrast, saturation, hue = 2 * numbers - 1
    return jitter(
        images, 1 + JITTER * brightness, 1 + JITTER * contrast, 1 + JITTER * saturation, HUE * hue
    )


def _sharpness(images: Tensor, numbers: Tensor) -> Tensor:
    return blend(images, smooth(images), 2 * numbers[0])


def _rand_augment(images: Tensor, numbers: Tensor) -> Tensor:
    from fieldtrial.training.augment.randaugment import rand_augment  # late, because of torchvision

    return rand_augment(images, numbers)


def _grayscale(images: Tensor, numbers: Tensor) -> Tensor:
    return _some(images, numbers[0] < GREY, lambda chosen: grey(chosen).expand_as(chosen))


CHANGES: dict[str, Change] = {
    # every second image, on average
    "horizontal_flip": Change(1, lambda images, numbers: _flip(images, numbers, 3)),
    "vertical_flip": Change(1, lambda images, numbers: _flip(images, numbers, 2)),
    # Crops are drawn here from squares that are the original images; see data/originals.
    # a shift by up to an eighth of the side, filled by reflection (He et al. 2015: 4 of 32 pixels)
    "crop": Change(2, _crop),
    # 8 to 100 % of the area, sides 3:4 to 4:3, enlarged (Szegedy et al. 2014; torchvision's values)
    "random_resized_crop": Change(WINDOW_NUMBERS, _random_resized_crop),
    # -15 to 15 degrees; black comes in at the corners
    "rotation": Change(1, _rotation),
    # a shift by up to 10 % of the side and a scale of 0.9 to 1.1; black comes in at the border
    "affine": Change(3, _affine),
    # brightness and contrast by up to 40 %; in colour also saturation by 40 % and hue by 0.1 turns
    "color_jitter": Change(4, _color_jitter),
    # from smoothed to twice as sharp
    "sharpness": Change(1, _sharpness),
    # every tenth image, on average, becomes grey; grey ones stay
    "grayscale": Change(1, _grayscale),
    # two of 14 changes
    "randaugment": Change(4, _rand_augment),
}
