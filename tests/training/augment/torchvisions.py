"""Changes as torchvision computes them, an image at a time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision


def warped(image: Tensor, angle: float = 0.0, shear: Sequence[float] = (0.0, 0.0)) -> Tensor:
    bilinear = vision.InterpolationMode.BILINEAR
    result: Tensor = vision.affine(image, angle, [0, 0], 1.0, list(shear), interpolation=bilinear)
    return result


def shifted(image: Tensor, pixels: float) -> Tensor:
    """Return the image shifted to the right, by a fraction of a pixel too; black comes in."""
    whole, part = math.floor(pixels), pixels - math.floor(pixels)
    width = image.shape[-1]
    padded = torch.nn.functional.pad(image, (width, width))
    left, right = (padded[..., width - whole - more : 2 * width - whole - more] for more in (0, 1))
    return (1 - part) * left + part * right
