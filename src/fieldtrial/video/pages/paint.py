"""Painting on frames with numpy: opaque plates with text, frames of boxes, strokes, layers.

Letters are drawn by Pillow on plates that are kept; a frame itself never becomes a Pillow image,
which would cost two copies of it.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFont

from fieldtrial.fields.printable import printable

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
Points = Sequence[tuple[float, float]]
Rectangle = tuple[int, int, int, int]  # left, top, right and bottom

# One for each class, then again from the first: after Okabe & Ito (2008), "Color Universal Design",
# lightened until black letters are legible on each.
BRIGHT: tuple[Colour, ...] = (
    (86, 180, 233), (255, 140, 60), (45, 212, 160), (245, 154, 200), (255, 208, 64),
    (190, 150, 255), (208, 214, 220),
)  # fmt: skip
BLACK: Colour = (16, 20, 24)
WHITE: Colour = (255, 255, 255)
YELLOW: Colour = (255, 221, 51)
SMOOTH = 2  # masks are drawn so many times larger, and reduced
LONGEST = 28  # letters on a plate


def class_colour(label: int) -> Colour:
    """Return the colour of the class with this number."""
    return BRIGHT[label % len(BRIGHT)]


def shortened(text: str) -> str:
    """Return a text in one line of at most LONGEST letters."""
    line = printable(text)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return bold letters, `size` pixels high: DejaVu, which has most alphabets but Chinese."""
    from matplotlib import get_data_path  # late: it takes a fifth of a second, and comes with them

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", size)


@functools.lru_cache(maxsize=1024)
def plate(text: str, size: int, ground: Colour, ink: Colour) -> Pixels:
    """Return a plate (height, width, 3) with letters `size` pixels high. Not to be written to."""
    letters = font(size)
    ascent, descent = letters.getmetrics()
    margin = max(2, size // 4)
    width = max(1, round(letters.getlength(text))) + 2 * margin
    image = Image.new("RGB", (width, ascent + descent + margin // 2), ground)
    draw = ImageDraw.Draw(image)
    draw.text((margin, margin // 4), text, fill=ink, font=letters)
    if ground != BLACK:  # so that two plates of a colour do not become one
        draw.rectangle((0, 0, width - 1, image.height - 1), outline=BLACK)
    return np.asarray(image)


def covered(size: tuple[int, int], picture: Pixels, left: float, top: float) -> Rectangle:
    """Return what a picture there covers of a frame of `size`, width and height.

    It is moved so that as much of it as can be is inside. Left, top, right, bottom.
    """
    high, wide = picture.shape[:2]
    x = min(max(0, round(left)), max(0, size[0] - wide))
    y = min(max(0, round(top)), max(0, size[1] - high))
    return x, y, x + wide, y + high


def put(frame: Pixels, picture: Pixels, left: float, top: float) -> None:
    """Put an opaque picture onto the frame, moved as `covered` says."""
    x, y, right, bottom = covered((frame.shape[1], frame.shape[0]), picture, left, top)
    place = frame[y:bottom, x:right]
    place[:] = picture[: place.shape[0], : place.shape[1]]


def frame_box(frame: Pixels, box: Sequence[float], thickness: int, colour: Colour) -> None:
    """Draw the edges of a box, with a dark rim on both sides, as far as they are in the frame."""
    left, top, right, bottom = (round(float(side)) for side in box)
    for outset, width, shade in ((1, thickness + 2, BLACK), (0, thickness, colour)):
        x1, y1, x2, y2 = left - outset, top - outset, right + outset, bottom + outset
        _fill(frame, x1, y1, x2, y1 + width, shade)
        _fill(frame, x1, y2 - width, x2, y2, shade)
        _fill(frame, x1, y1, x1 + width, y2, shade)
        _fill(frame, x2 - width, y1, x2, y2, shade)


def _fill(frame: Pixels, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
    frame[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = colour


def strokes(frame: Pixels, ends: NDArray[Any], shades: NDArray[Any], width: int) -> None:
    """Draw straight strokes, each over what is there, as far as they are in the frame.

    ends: float (n, 4), x and y of both ends. shades: uint16 (n, 4): red, green, blue, and how much
    it covers in 256ths. width: in pixels. They are not smoothed, which would take much longer.
    """
    height, wide = frame.shape[:2]
    ways = ends[:, 2:] - ends[:, :2]
    longest = np.abs(ways).max(axis=1) / max(1, width - 1)
    counts = np.ceil(longest).clip(1, height + wide).astype(np.intp)
    number = np.repeat(np.arange(len(ends)), counts)
    within = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (within / counts[number])[:, None]
    points = np.rint(ends[number, :2] + share * ways[number]).astype(np.intp)
    grid = np.arange(width) - width // 2
    columns = points[:, 0, None, None] + grid[None, :, None]
    rows = points[:, 1, None, None] + grid[None, None, :]
    columns, rows = (one.reshape(-1) for one in np.broadcast_arrays(columns, rows))
    inside = (columns >= 0) & (columns < wide) & (rows >= 0) & (rows < height)
    places, of = (rows * wide + columns)[inside], np.repeat(number, width * width)[inside]
    pixels, cover = frame.reshape(-1, 3), shades[of, 3:]
    pixels[places] = (pixels[places] * (256 - cover) + shades[of, :3] * cover) >> 8


@dataclass(frozen=True, eq=False)
class Layer:
    """What is the same in every frame: `places` (n,) of pixels, `kept` (n, 1) of what is there in
    256ths, and `added` (n, 3) in 256ths.
    """

    places: NDArray[np.intp]
    kept: NDArray[np.uint16]
    added: NDArray[np.uint16]

    def apply(self, frame: Pixels) -> None:
        """Lay it over a frame of the size that it was made for."""
        pixels = frame.reshape(-1, 3)
        under = pixels[self.places]
        pixels[self.places] = (under * self.kept + self.added) >> 8


class Layers:
    """Builds a Layer for frames of `size`, width and height, from polygons and lines."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._opacity = np.zeros((size[1], size[0], 1), np.float32)
        self._colour = np.zeros((size[1], size[0], 3), np.float32)  # times opacity

    def rim(self, points: Points, width: float, colour: Colour, opacity: float) -> None:
        """Colour the part of a polygon that is so near to its edge."""
        mask, draw = self._canvas()
        draw.polygon(self._scaled(points), fill=255)
        near, draw = self._canvas()
        draw.line(self._scaled([*points, points[0]]), fill=255, width=round(2 * SMOOTH * width))
        self._add(ImageChops.multiply(mask, near), colour, opacity)

    def line(self, points: Points, width: float, colour: Colour, opacity: float = 1.0) -> None:
        """Draw a line through the points, with round ends."""
        mask, draw = self._canvas()
        scaled, thick = self._scaled(points), SMOOTH * width
        draw.line(scaled, fill=255, width=max(1, round(thick)), joint="curve")
        for x, y in scaled:
            draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
        self._add(mask, colour, opacity)

    def layer(self) -> Layer:
        """Return all that was drawn, as one layer."""
        places = np.flatnonzero(self._opacity.ravel() > 0)
        kept = 256 * (1 - self._opacity.reshape(-1, 1)[places])
        added = 256 * self._colour.reshape(-1, 3)[places]
        return Layer(places, kept.round().astype(np.uint16), added.astype(np.uint16))

    def _canvas(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        mask = Image.new("L", (SMOOTH * self.size[0], SMOOTH * self.size[1]))
        return mask, ImageDraw.Draw(mask)

    def _scaled(self, points: Points) -> list[tuple[float, float]]:
        return [(SMOOTH * x, SMOOTH * y) for x, y in points]

    def _add(self, mask: Image.Image, colour: Colour, opacity: float) -> None:
        share = np.asarray(mask.reduce(SMOOTH), np.float32)[..., None] * (opacity / 255)
        self._colour = self._colour * (1 - share) + np.array(colour, np.float32) * share
        self._opacity = self._opacity + (1 - self._opacity) * share
