"""Letterboxing: an image of any shape in an input of a fixed one, with its own proportions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

GREY = 128  # of the border; darknet's is 0.5


@dataclass(frozen=True)
class Placement:
    """Where an image is in its letterbox.

    Attributes:
        image: width and height of the image, in pixels.
        inner: those of the image in the letterbox.
        offset: columns left of it, and rows above it.
    """

    image: tuple[int, int]
    inner: tuple[int, int]
    offset: tuple[int, int]

    def to_image(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return boxes (n, 4) of the letterbox in the image's pixels; they may leave the image."""
        # Divided last: whole pixels at the image's border come to lie on it, and not beyond it.
        inner, image, offset = (
            np.array(one * 2, float) for one in (self.inner, self.image, self.offset)
        )
        moved: NDArray[np.float64] = (boxes - offset) * image / inner
        return moved


def place(image: tuple[int, int], size: tuple[int, int]) -> Placement:
    """Return where an image is in a letterbox: in the middle, as large as possible.

    image, size: width and height of both, in pixels.
    """
    scale = min(size[0] / image[0], size[1] / image[1])
    inner = tuple(max(1, min(b, round(a * scale))) for a, b in zip(image, size, strict=True))
    width, height = inner
    return Placement(image, (width, height), ((size[0] - width) // 2, (size[1] - height) // 2))


def least_size(image: tuple[int, int], longer: int, stride: int) -> tuple[int, int]:
    """Return width and height of the least letterbox whose longer side is `longer`.

    Its sides are multiples of `stride`. Half of a square letterbox around a wide image would be
    border, which costs as much as the image.
    """
    scale = longer / max(image)
    width, height = (
        min(longer, max(1, -(-round(side * scale) // stride)) * stride) for side in image
    )
    return width, height


def letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[torch.Tensor, Placement]:
    """Return an image in a grey letterbox, resized bilinearly and, as by darknet, without blurring.

    Args:
        image: uint8 (height, width, 3).
        size: width and height of the letterbox, in pixels.

    Returns:
        uint8 (3, height, width), channels last in memory, and where the image is in it.
    """
    placement = place((image.shape[1], image.shape[0]), size)
    (width, height), (left, top) = placement.inner, placement.offset
    # PyTorch warns of arrays that must not be written to, and writes to none.
    given = torch.from_numpy(image if image.flags.writeable else image.copy())
    pixels = given.permute(2, 0, 1)[None]
    if (width, height) != placement.image:
        pixels = functional.interpolate(pixels, (height, width), mode="bilinear")
    if (width, height) == size:
        return pixels[0], placement
    box = torch.full((size[1], size[0], 3), GREY, dtype=torch.uint8).permute(2, 0, 1)
    box[:, top : top + height, left : left + width] = pixels[0]
    return box, placement
