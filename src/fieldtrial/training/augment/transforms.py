"""Augmentation: random changes of training images, batched, on their device, one per image."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fieldtrial.training.augment.change import Change
from fieldtrial.training.augment.color import blend, grey, jitter, smooth
from fieldtrial.training.augment.drawing import draw, places
from fieldtrial.training.augment.moves import MOVES, Move, moved
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


@torch.no_grad()
def augment(
    images: Tensor, names: tuple[str, ...], seed: int, own: Mapping[str, Change] | None = None
) -> Tensor:
    """Return `images` after the changes `names`, in order, on their device.

    Equal arguments give equal images, on the CPU and on a GPU, and the state of the global
    generators stays. Stored images stay so if all changes are MOVES, and else become floats.

    Args:
        images: as they are stored, uint8 (n, height, width, channels); or float (n, channels,
            height, width) in [0, 1].
        names: keys of CHANGES, or of `own`.
        seed: from 0 to 2**64 - 1.
        own: changes of own augmentations, by their names.
    """
    known = {**CHANGES, **(own or {})}
    changes = [known[name] for name in names]
    drawn = draw([change.numbers for change in changes], len(images), seed)
    moves: list[tuple[Move, Tensor]] = []
    for change, numbers in zip(changes, drawn, strict=True):
        if isinstance(change, Move):
            moves.append((change, numbers))
            continue
        images = change.apply(as_floats(moved(images, moves) if moves else images), numbers)
        moves = []
    return moved(images, moves) if moves else images


def as_floats(images: Tensor) -> Tensor:
    """Return stored images as float (n, channels, height, width) in [0, 1], others as they are."""
    if images.dtype != torch.uint8:
        return images
    return images.float().div_(255).permute(0, 3, 1, 2)


def _some(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images with `change` applied to those that are `chosen`, bool (n,)."""
    where = places(chosen, images)
    return images.index_copy(0, where, change(images[where]))


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


# Crops are drawn here from squares that are the original images; see data/originals.
COMPUTED: dict[str, Change] = {
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
CHANGES: dict[str, Change | Move] = MOVES | COMPUTED
