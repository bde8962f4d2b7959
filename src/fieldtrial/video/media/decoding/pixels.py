"""From a decoded frame to an upright image of square pixels."""

import struct
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Orientation = tuple[int, int, int, int]  # a, b, c, d: a point (x, y) is shown at (ax+cy, bx+dy)
UPRIGHT: Orientation = (1, 0, 0, 1)
WIDEST = 4  # as a pixel can be: files with more hold nonsense


class Converter:
    """Makes upright RGB images, all of one size, of the frames of one video.

    A camera may switch to another size; such frames are scaled.
    """

    def __init__(self, width: int, height: int, orientation: Orientation) -> None:
        """Take the size of the upright images."""
        self._stored = (width, height) if orientation[0] else (height, width)
        self._orientation = orientation
        self._reformatter = VideoReformatter()

    def image(self, frame: Any) -> NDArray[np.uint8]:
        """Return a frame as uint8 (height, width, 3), RGB."""
        width, height = self._stored
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24")
        return turned(np.asarray(rgb.to_ndarray(), np.uint8), self._orientation)


def upright_size(frame: Any, aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height of a frame as it is to be shown, in square pixels.

    aspect: the width of a pixel over its height, if it is known. The side on which pixels are
        longer is made longer, so that none is lost.
    """
    if not aspect or not Fraction(1, WIDEST) <= aspect <= WIDEST:
        aspect = Fraction(1)
    width, height = round(frame.width * max(aspect, 1)), round(frame.height * max(1 / aspect, 1))
    return (width, height) if orientation(frame)[0] else (height, width)


def orientation(frame: Any) -> Orientation:
    """Return how a frame is to be shown. What is no multiple of a quarter turn counts as none.

    The display matrix is that of ISO/IEC 14496-12 (8.5.2): x and y grow to the right and downwards.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    matrix = struct.unpack("=9i", bytes(data))
    a, b, c, d = (int(np.sign(matrix[place])) for place in (0, 1, 3, 4))
    quarter = (a and d and not b and not c) or (b and c and not a and not d)
    return (a, b, c, d) if quarter else UPRIGHT


def turned(pixels: NDArray[np.uint8], how: Orientation) -> NDArray[np.uint8]:
    """Return an image (height, width, 3) as it is to be shown."""
    a, b, c, d = how
    if not a:
        pixels = pixels.transpose(1, 0, 2)
    if a + c < 0:  # x is mirrored
        pixels = pixels[:, ::-1]
    if b + d < 0:  # y is
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
