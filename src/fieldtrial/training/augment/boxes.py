"""Augmentation of images with boxes: what moves the image moves its boxes."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fieldtrial.training.augment.transforms import CHANGES

GREY = 0.5  # what comes in at the border, as in a letterbox
LEFT = 0.1  # of its area must be in the image, or a box is gone
SHIFT, ZOOM = 0.1, 0.1  # affine: of the side, more or less
AREA, ASPECT = (0.3, 1.0), (3 / 4, 4 / 3)  # random_resized_crop: of the window
NO_BOX = -1.0

# From images (n, channels, height, width) and targets (n, most, 5) to changed ones.
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs as well
        for name in names:
            if name in MOVES:
                images, targets = MOVES[name](images, targets)
            else:
                images = CHANGES[name](images)
    return images, targets


def _flip(images: Tensor, targets: Tensor, dimension: int, column: int) -> tuple[Tensor, Tensor]:
    """Mirror every second image, on average, and the centres of its boxes in `column`."""
    places = (torch.rand(len(images)) < 0.5).nonzero().flatten().to(images.device)
    images = images.index_copy(0, places, images[places].flip(dimension))
    mirrored = targets[places]
    mirrored[..., column] = 1 - mirrored[..., column]
    return images, targets.index_copy(0, places, mirrored)


def window(images: Tensor, targets: Tensor, starts: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return a window of each image, resized to the whole, and the boxes in it.

    starts, sizes: (n, 2), the window's left top corner, and its width and height, in shares of the
    image, on any device. What lies outside of the image is GREY.
    """
    starts, sizes = starts.to(images), sizes.to(images)
    maps = torch.zeros(len(images), 2, 3, device=images.device)  # from -1 to 1 on both sides
    maps[:, 0, 0], maps[:, 1, 1] = sizes[:, 0], sizes[:, 1]
    maps[:, :, 2] = 2 * starts + sizes - 1
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images - GREY, grid, align_corners=False) + GREY
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


def _affine(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    n = len(images)
    sizes = 1 / (1 + ZOOM * (2 * torch.rand(n, 1) - 1)).expand(n, 2)
    shifts = SHIFT * (2 * torch.rand(n, 2) - 1)
    return window(images, targets, (1 - sizes) / 2 + shifts, sizes)


def _random_resized_crop(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    n = len(images)
    area = AREA[0] + (AREA[1] - AREA[0]) * torch.rand(n)
    low, high = torch.tensor(ASPECT).log()
    aspect = (low + (high - low) * torch.rand(n)).exp()
    sizes = torch.stack([area * aspect, area / aspect], 1).sqrt().clamp(max=1)
    return window(images, targets, torch.rand(n, 2) * (1 - sizes), sizes)


MOVES: dict[str, Change] = {
    # every second image, on average
    "horizontal_flip": lambda images, targets: _flip(images, targets, 3, 1),
    "vertical_flip": lambda images, targets: _flip(images, targets, 2, 2),
    # a shift by up to 10 % of the side and a scale of 0.9 to 1.1; grey comes in at the border
    "affine": _affine,
    # a window of 30 to 100 % of the area, sides 3:4 to 4:3, resized to the whole
    "random_resized_crop": _random_resized_crop,
}
COLOURS = ("color_jitter", "sharpness", "grayscale")
