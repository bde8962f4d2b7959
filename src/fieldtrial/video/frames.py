"""A frame of a video."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Frame:
    """A decoded frame, upright.

    Attributes:
        image: uint8 (height, width, 3), RGB.
        time: its presentation time, in seconds since the video's first frame.
        number: how many frames of the video come before it.
    """

    image: NDArray[np.uint8]
    time: float
    number: int
