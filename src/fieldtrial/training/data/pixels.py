"""An image's pixels as a viewer shows them: upright, and on white where they are transparent."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

WHITE = (255, 255, 255, 255)
ORIENTATION = 0x0112  # among the facts that a camera noted (EXIF)
LYING = (5, 6, 7, 8)  # orientations in which width and height change places
LEVELS = np.arange(256)  # of a pixel


def as_shown(image: Image.Image, channels: int) -> Image.Image:
    """Return `image` as a viewer shows it, in colour (3 channels) or grey (1).

    The orientation that a camera noted (EXIF) is applied, to `image` itself, of which most need no
    copy. What is transparent lies on white.
    """
    ImageOps.exif_transpose(image, in_place=True)
    upright, mode = image, "RGB" if channels == 3 else "L"
    if upright.has_transparency_data:
        colour = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colour.size, WHITE), colour)
    return upright if upright.mode == mode else upright.convert(mode)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of `image` as a viewer shows it."""
    lies = image.getexif().get(ORIENTATION) in LYING
    return (image.height, image.width) if lies else image.size


def require_decodable(image: Image.Image) -> None:
    """Raise ValueError if `image` has too many pixels, or pixels of more than 8 bits.

    Pillow's limit of pixels is meant against decompression bombs; Pillow itself only warns.
    """
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ValueError(
            f"{image.width} × {image.height} pixels; must be at most {most:,}, make it smaller"
            " first"
        )
    if image.mode[0] in "IF":
        raise ValueError(
            f"pixels of more than 8 bits (mode {image.mode}) would be cut off; convert the file"
            " first"
        )


def moments(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of an image (height, width, channels), and of its square: (channels,) each.

    They are exact but for one rounding, because they come from the histogram's whole numbers.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    counts = np.array(image.histogram()).reshape(pixels.shape[2], len(LEVELS))
    count = pixels.shape[0] * pixels.shape[1]
    return counts @ LEVELS / count, counts @ LEVELS**2 / count
