"""Random crops of 8-bit images: where they are, and their pixels, without any float in between."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fieldtrial.fields.switches import switch

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random-resized crop (Szegedy et al. 2014)
TRIES = 10  # to draw one that fits into the image
PADDING = 8  # a shifted crop begins up to the side over this beyond the image's border
MODES = ("bilinear", "bicubic")  # which torch has for 8-bit images

Pixels = NDArray[np.uint8]  # (height, width, channels)
Window = tuple[int, int, int, int]  # top, left, height, width, in pixels
Resize = Callable[[Pixels, int, int, str], Pixels]  # to a height and a width, by an interpolation


def resampling() -> Resize:
    """Return how images are resized: by torch, or by Pillow if $FIELDTRIAL_RESAMPLING says so.

    Both widen the interpolation's kernel where an image becomes smaller (antialiasing). torch takes
    a third of the time, and its pixels are at most two grey levels off Pillow's.

    Raises:
        ValueError: the variable has another value than torch or pillow.
    """
    choices: dict[str, Resize] = {"torch": resize, "pillow": resize_by_pillow}
    return choices[switch("FIELDTRIAL_RESAMPLING")]


def resize(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    """Return the image with another height and width, by torch where it has the interpolation."""
    if interpolation not in MODES:
        return resize_by_pillow(pixels, height, width, interpolation)
    # numpy copies on this thread alone, where torch would begin others; and with the batch's
    # dimension made by numpy, torch sees that channels are last, and leaves them there
    image = torch.from_numpy(np.array(pixels[None], order="C")).permute(0, 3, 1, 2)
    resized = functional.interpolate(image, (height, width), mode=interpolation, antialias=True)
    found: Pixels = resized[0].permute(1, 2, 0).numpy()
    return found


def resize_by_pillow(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    """Return the image with another height and width, by Pillow."""
    channels = pixels.shape[2]
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
    resized = image.resize((width, height), Image.Resampling[interpolation.upper()])
    return np.asarray(resized).reshape(height, width, channels)


def draw_window(height: int, width: int, generator: torch.Generator) -> Window:
    """Return the window of a random-resized crop of an image of this height and width.

    It has AREA of the image's area, and sides in a ratio of ASPECT, uniform in its logarithm
    (C. Szegedy et al., "Going deeper with convolutions", 2014). With the same seed it is the one
    that torchvision's RandomResizedCrop takes.
    """
    low, high = torch.tensor(ASPECT).log().tolist()
    number = torch.empty(1)
    for _ in range(TRIES):
        area = height * width * float(number.uniform_(*AREA, generator=generator))
        ratio = float(torch.exp(number.uniform_(low, high, generator=generator)))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            top = int(torch.randint(height - down + 1, (1,), generator=generator))
            left = int(torch.randint(width - across + 1, (1,), generator=generator))
            return top, left, down, across
    across, down = width, height
    if width < ASPECT[0] * height:
        down = round(width / ASPECT[0])
    elif width > ASPECT[1] * height:
        across = round(height * ASPECT[1])
    return (height - down) // 2, (width - across) // 2, down, across


def mirrored(places: Tensor, length: int) -> Tensor:
    """Return which of `length` pixels are seen at `places`, of any shape.

    Beyond the border they are seen as in a mirror there, at most once.
    """
    inside = places.abs()
    return inside.minimum(2 * (length - 1) - inside)
