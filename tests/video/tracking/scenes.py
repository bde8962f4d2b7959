"""Vehicles on known ways, as a detector would find them: what is counted is known beforehand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fieldtrial.detection.boxes import Detections
from fieldtrial.video.geometry import Line, Zone
from fieldtrial.video.moments import Moment
from fieldtrial.video.tracking.analysis import Analysis, Followed
from fieldtrial.video.tracking.settings import TrackingSettings

CLASS_NAMES = ("bicycle", "car", "motorbike", "bus", "truck")
CAR, TRUCK = 1, 4
SETTINGS = TrackingSettings(confidence=0.25)
# From the top to the bottom in the middle of 640×480: whoever walks along it has the picture's left
# half on the right.
MIDDLE = Line("middle", (320.0, 0.0), (320.0, 480.0))


@dataclass(frozen=True)
class Vehicle:
    """A vehicle whose centre goes straight from point to point of `way`: seconds, x and y.

    It is hidden from the first to the second time in `hidden`. `scores` are by label.
    """

    way: tuple[tuple[float, float, float], ...]
    hidden: tuple[float, float] = (-1.0, -1.0)
    scores: tuple[tuple[int, float], ...] = ((CAR, 0.9),)
    size: tuple[float, float] = (60.0, 40.0)

    def box(self, time: float) -> list[float] | None:
        """Return the box at a time, or None."""
        times, xs, ys = zip(*self.way, strict=True)
        if not times[0] <= time <= times[-1] or self.hidden[0] <= time < self.hidden[1]:
            return None
        x, y = np.interp(time, times, xs), np.interp(time, times, ys)
        width, height = self.size
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def steady(seconds: float, rate: float = 25.0) -> list[float]:
    """Return the times of a video's frames."""
    return [number / rate for number in range(round(seconds * rate) + 1)]


def scene(
    vehicles: Sequence[Vehicle],
    times: Iterable[float],
    tremble: float = 0.0,
    missed: float = 0.0,
    seed: int = 0,
) -> Iterator[tuple[float, Detections]]:
    """Yield times and detections.

    tremble: standard deviation of a box's corners, in pixels. missed: share of detections.
    """
    draws = np.random.default_rng(seed)
    for time in times:
        found = [
            (score, label, np.array(box) + draws.normal(0, tremble, 4))
            for vehicle in vehicles
            if (box := vehicle.box(time)) is not None
            if draws.random() >= missed
            for label, score in vehicle.scores
        ]
        found.sort(key=lambda one: -one[0])
        yield (
            time,
            Detections(
                np.array([box for _, _, box in found], np.float32).reshape(-1, 4),
                np.array([score for score, _, _ in found], np.float32),
                np.array([label for _, label, _ in found], np.int64),
            ),
        )


def analyse(
    frames: Iterable[tuple[float, Detections]],
    lines: Sequence[Line] = (MIDDLE,),
    zones: Sequence[Zone] = (),
    settings: TrackingSettings = SETTINGS,
    rate: float = 25.0,
) -> tuple[list[Moment], Followed]:
    """Return the moments of the frames, and what was found."""
    analysis = Analysis(lines, zones, CLASS_NAMES, rate, settings)
    moments = [analysis.update(time, detections) for time, detections in frames]
    return moments, analysis.finish()


def counts(followed: Followed, line: str = "middle") -> tuple[int, int]:
    """Return how many crossed the line to the right, and to the left."""
    ways = [one.direction for one in followed.crossings if one.line == line]
    return ways.count("right"), ways.count("left")
