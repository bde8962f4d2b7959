"""What is known of a moment of a video: which vehicles are where, and which lines they cross."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldtrial.video.geometry import Point
from fieldtrial.video.summary import Direction


@dataclass(frozen=True, eq=False)
class Tracks:
    """The vehicles in a frame.

    Attributes:
        ids: int64 (n,), the numbers of their tracks.
        boxes: float32 (n, 4), left, top, right and bottom, in pixels of the upright frame.
        scores: float32 (n,), in [0, 1].
        labels: int64 (n,), numbers of classes.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Crossing:
    """A track crosses a line.

    Attributes:
        line: the line's name.
        direction: right or left, see `geometry.Line`.
        track: the track's number.
        label: the number of its class.
        time: in seconds since the video's first frame.
        point: where, in pixels.
        box: the vehicle's left, top, right and bottom then, in pixels.
    """

    line: str
    direction: Direction
    track: int
    label: int
    time: float
    point: Point
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Moment:
    """What is known at the time of a frame.

    Attributes:
        time: in seconds since the video's first frame.
        tracks: the vehicles in it.
        crossings: the new ones, since the moment before.
        counts: (line, direction) -> how many have crossed so far, all classes together.
        occupancy: zone -> how many vehicles are in it.
    """

    time: float
    tracks: Tracks
    crossings: tuple[Crossing, ...]
    counts: Mapping[tuple[str, str], int]
    occupancy: Mapping[str, int]
