"""Folders of images that are seen as a video."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fieldtrial.fields.printable import counted
from fieldtrial.video.media.decoding.containers import require_pixels

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# What Pillow raises for files that are no images, or damaged ones.
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


def natural(name: str) -> tuple[tuple[str, int, str], ...]:
    """Return what sorts names as people do: image2 comes before image10."""
    return tuple(
        (text.casefold(), int(digits or 0), text + digits)
        for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)
    )


def image_names(folder: Path) -> list[str]:
    """Return the names of the images in a folder, in their natural order."""
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted((name for name in names if not name.startswith(".")), key=natural)


def find_images(folder: Path) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Return the names of a folder's images, in their natural order, and their width and height.

    A damaged image stays among them: it is the frame that is skipped.

    Raises:
        ValueError: there is none that can be read, or they have different sizes.
    """
    names = image_names(folder)
    sizes = {name: size for name in names if (size := _size(folder / name))}
    if not sizes:
        raise ValueError(
            f"{folder}: has no image that can be read; {counted(len(names), 'file')} named as one"
            f" ({', '.join(IMAGE_SUFFIXES)})"
        )
    first, size = next(iter(sizes.items()))
    other = next((name for name in sizes if sizes[name] != size), None)
    if other:
        raise ValueError(
            f"{folder}: images of one video must have one size; {first} has"
            f" {size[0]}×{size[1]} pixels, and {other} {sizes[other][0]}×{sizes[other][1]}"
        )
    require_pixels(*size, str(folder / first))
    return tuple(names), size


def _size(path: Path) -> tuple[int, int] | None:
    """Return the upright width and height of an image, None if it is damaged."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(0x0112, 1) >= 5  # Orientation
    except DAMAGE:
        return None
    return (height, width) if sideways else (width, height)


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """Return an upright image as uint8 (height, width, 3), RGB; None if it is damaged."""
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except DAMAGE:
        return None
