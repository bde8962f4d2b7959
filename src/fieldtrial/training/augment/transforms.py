"""Augmentation: random changes of training images, batched, on their device, one per image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fieldtrial.training.augment.color import blend, grey, jitter, smooth


@torch.no_grad()
def augment(images: Tensor, names: tuple[str, ...], seed: int) -> Tensor:
    """Return `images` after the changes `names`, in order; shape, type and device stay.

    Equal arguments give equal images. All random numbers come from `seed`, on the CPU, so that a
    GPU uses the same; the state of the global generators stays.

    Args:
        images: float (n, channels, height, width) in [0, 1].
        names: keys of CHANGES.
        seed: from 0 to 2**64 - 1.
    """
    if not names:
        return images
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
        for name in names:
            images = CHANGES[name](images)
    return images


def _flip(images: Tensor, dimension: int) -> Tensor:
    return _some(images, 0.5, lambda chosen: chosen.flip(dimension))


def _some(images: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images with `change` applied to some of them, a `share` on average."""
    places = (torch.rand(len(images)) < share).nonzero().flatten().to(images.device)
    return images.index_copy(0, places, change(images[places]))


def _kornia(name: str, images: Tensor, *values: Any, **settings: Any) -> Tensor:
    """Return the images after a change of kornia's."""
    import kornia.augmentation  # late: runs without it save the import

    # Built anew in 0.01 to 0.3 ms; a module that is kept would hold device memory.
    change = getattr(kornia.augmentation, name)(*values, **settings)
    changed: Tensor = change(images)
    return changed


def _crop(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    padding = (_padding(width), _padding(height))
    mode = _cropping_mode(images)
    return _kornia(
        "RandomCrop",
        images,
        (height, width),
        padding=padding,
        padding_mode="reflect",
        cropping_mode=mode,
    )


def _padding(side: int) -> int:
    return min(max(1, side // 8), side - 1)  # reflection has side - 1 pixels to give


def _random_resized_crop(images: Tensor) -> Tensor:
    size, mode = tuple(images.shape[2:]), _cropping_mode(images)
    return _kornia(
        "RandomResizedCrop",
        images,
        size,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        cropping_mode=mode,
    )


def _cropping_mode(images: Tensor) -> str:
    """Return how kornia crops: by slices on a CPU, in one warp where each slice is a kernel."""
    return "slice" if images.device.type == "cpu" else "resample"


def _affine(images: Tensor) -> Tensor:
    return _kornia("RandomAffine", images, 0.0, translate=(0.1, 0.1), scale=(0.9, 1.1), p=1.0)


def _color_jitter(images: Tensor) -> Tensor:
    brightness, contrast, saturation, hue = torch.rand(4, len(images)) * 2 - 1
    return jitter(images, 1 + 0.4 * brightness, 1 + 0.4 * contrast, 1 + 0.4 * saturation, 0.1 * hue)


def _sharpness(images: Tensor) -> Tensor:
    return blend(images, smooth(images), 2 * torch.rand(len(images)))


def _rand_augment(images: Tensor) -> Tensor:
    from fieldtrial.training.augment.randaugment import rand_augment  # late, because of torchvision

    return rand_augment(images)


def _grayscale(images: Tensor) -> Tensor:
    return _some(images, 0.1, lambda chosen: grey(chosen).expand_as(chosen))


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    # every second image, on average
    "horizontal_flip": lambda images: _flip(images, 3),
    "vertical_flip": lambda images: _flip(images, 2),
    # Crops are drawn here from squares that are the original images; see data/originals.
    # a shift by up to an eighth of the side, filled by reflection (He et al. 2015: 4 of 32 pixels)
    "crop": _crop,
    # 8 to 100 % of the area, sides 3:4 to 4:3, enlarged (Szegedy et al. 2014; torchvision's values)
    "random_resized_crop": _random_resized_crop,
    # -15 to 15 degrees; black comes in at the corners
    "rotation": lambda images: _kornia("RandomRotation", images, 15.0, p=1.0),
    # a shift by up to 10 % of the side and a scale of 0.9 to 1.1; black comes in at the border
    "affine": _affine,
    # brightness and contrast by up to 40 %; in colour also saturation by 40 % and hue by 0.1 turns
    "color_jitter": _color_jitter,
    # from smoothed to twice as sharp
    "sharpness": _sharpness,
    # every tenth image, on average, becomes grey; grey ones stay
    "grayscale": _grayscale,
    # two of 14 changes
    "randaugment": _rand_augment,
}
