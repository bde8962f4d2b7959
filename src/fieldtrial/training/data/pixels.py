"""An image's pixels as a viewer shows them: upright, and on white where they are transparent."""

from PIL import Image, ImageOps

WHITE = (255, 255, 255, 255)
ORIENTATION = 0x0112  # among the facts that a camera noted (EXIF)
LYING = (5, 6, 7, 8)  # orientations in which width and height change places


def as_shown(image: Image.Image, channels: int) -> Image.Image:
    """Return `image` as a viewer shows it, in colour (3 channels) or grey (1).

    The orientation that a camera noted (EXIF) is applied. What is transparent lies on white.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        colour = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colour.size, WHITE), colour)
    return upright.convert("RGB" if channels == 3 else "L")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of `image` as a viewer shows it."""
    lies = image.getexif().get(ORIENTATION) in LYING
    return (image.height, image.width) if lies else image.size
