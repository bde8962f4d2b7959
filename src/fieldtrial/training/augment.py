"""Random changes of training images: batched, on whatever device the images are, different for every image."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def augment(images: Tensor, names: tuple[str, ...], seed: int) -> Tensor:
    """Return `images` after the changes `names`, in order; shape, type and device stay.

    Equal arguments give equal images, whatever ran before: all randomness comes from `seed`, on the CPU (so that a
    GPU draws the same), and the global generators are left as they were.

    Args:
        images: float (n, channels, height, width) in [0, 1].
        names: keys of CHANGES.
        seed: from 0 to 2**64 - 1.
    """
    if not names:
        return images
    import kornia.augmentation as kornia  # late: runs without augmentation need not pay its import

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
        for name in names:
            # Built anew: that takes 0.01 to 0.3 ms, and a module that was kept would hold on to device memory.
            images = CHANGES[name](kornia, images)(images)
    return images


def _crop(kornia: Any, images: Tensor) -> Any:
    height, width = images.shape[2:]
    return kornia.RandomCrop(
        (height, width),
        padding=(_padding(width), _padding(height)),
        padding_mode="reflect",
        cropping_mode=_cropping_mode(images),
    )


def _padding(side: int) -> int:
    return min(max(1, side // 8), side - 1)  # reflection has side - 1 pixels to give


def _random_resized_crop(kornia: Any, images: Tensor) -> Any:
    return kornia.RandomResizedCrop(
        tuple(images.shape[2:]), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), cropping_mode=_cropping_mode(images)
    )


def _cropping_mode(images: Tensor) -> str:
    """Return how kornia crops: by slices, faster on a CPU, or all in one warp, where each slice would be a kernel."""
    return "slice" if images.device.type == "cpu" else "resample"


def _color_jitter(kornia: Any, images: Tensor) -> Any:
    return kornia.ColorJitter(0.4, 0.4, 0.4, 0.1) if images.shape[1] == 3 else kornia.ColorJitter(0.4, 0.4)


CHANGES: dict[str, Callable[[Any, Tensor], Any]] = {
    # every second image, on average
    "horizontal_flip": lambda kornia, _: kornia.RandomHorizontalFlip(p=0.5),
    "vertical_flip": lambda kornia, _: kornia.RandomVerticalFlip(p=0.5),
    # a shift by up to an eighth of the side, filled by reflection (He et al. 2015 pad the 32 pixels of CIFAR by 4)
    "crop": _crop,
    # 8 to 100 % of the area with sides 3:4 to 4:3, enlarged (Szegedy et al. 2014; torchvision's and timm's values)
    "random_resized_crop": _random_resized_crop,
    # -15 to 15 degrees; black comes in at the corners
    "rotation": lambda kornia, _: kornia.RandomRotation(15.0, p=1.0),
    # a shift by up to 10 % of the side and a scale of 0.9 to 1.1; black comes in at the border
    "affine": lambda kornia, _: kornia.RandomAffine(0.0, translate=(0.1, 0.1), scale=(0.9, 1.1), p=1.0),
    # brightness and contrast by up to 40 %; of colour images also saturation by 40 % and hue by 10 %
    "color_jitter": _color_jitter,
}
