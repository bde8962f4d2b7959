"""Detections, frame by frame, become tracks, crossings and counts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fieldtrial.detection.boxes import Detections
from fieldtrial.video.geometry import Line, Point, Zone
from fieldtrial.video.moments import Crossing, Moment, Tracks
from fieldtrial.video.tracking.crossings import LineWatch
from fieldtrial.video.tracking.paths import Path, Step
from fieldtrial.video.tracking.settings import Anchor, TrackingSettings
from fieldtrial.video.tracking.tracker import NONE, Assigned, Tracker
from fieldtrial.video.tracking.zones import Stay, ZoneWatch

Box = NDArray[np.float32]


@dataclass(frozen=True)
class Track:
    """A vehicle's track.

    Attributes:
        number: from 1, in the order in which tracks are found.
        label: the number of the class with the largest sum of scores over the track's life.
        first, last: when it was seen, in seconds.
        frames: in how many frames it was seen.
        path: where its anchor was; straight in time between the points.
    """

    number: int
    label: int
    first: float
    last: float
    frames: int
    path: tuple[Step, ...]


@dataclass(frozen=True)
class Followed:
    """What was found in a video.

    Attributes:
        tracks: in the order of their numbers.
        crossings: in the order of time; their labels are those of the tracks.
        stays: in zones, in the order of time.
        seconds: the time of the last frame.
    """

    tracks: tuple[Track, ...]
    crossings: tuple[Crossing, ...]
    stays: tuple[Stay, ...]
    seconds: float


class Analysis:
    """Follows the vehicles of one video and counts them; all frames are given to it in order.

    Args:
        class_names: of the detections' labels.
        rate: frames a second that are given, on average: those of the video, over the stride.

    Raises:
        ConfigError: the library of trackers cannot be imported on this machine.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        zones: Sequence[Zone],
        class_names: Sequence[str],
        rate: float,
        settings: TrackingSettings,
    ) -> None:
        self._lines, self._zones = lines, zones
        self._class_count = len(class_names)
        self._settings = settings
        self._tracker = Tracker(rate, settings)
        self._live = dict[int, _Followed]()
        self._before: Detections | None = None
        self._tracks = list[Track]()
        self._crossings = list[Crossing]()
        self._stays = list[Stay]()
        self._counts = {(line.name, way): 0 for line in lines for way in ("right", "left")}
        self._seconds = 0.0
        # What the last call of `update` found out about the detections; for tables.
        self.assigned = Assigned(np.zeros(0, np.int64), (), ())

    def update(self, time: float, detections: Detections) -> Moment:
        """Return what is known at the time of a frame with these detections.

        time: in seconds; it must not fall from call to call.

        Raises:
            ValueError: the time falls.
        """
        self.assigned = found = self._tracker.update(time, detections)
        for number in found.over:
            self._end(number)
        crossings = []
        for earlier in found.earlier:
            assert self._before is not None
            crossings += self._see(earlier.track, earlier.time, self._before, earlier.row)
        rows = np.flatnonzero(found.ids != NONE)
        for row in rows:
            crossings += self._see(int(found.ids[row]), time, detections, int(row))
        for crossing in crossings:
            self._counts[crossing.line, crossing.direction] += 1
        self._crossings += crossings
        self._before, self._seconds = detections, time
        seen = [self._live[int(number)] for number in found.ids[rows]]
        return Moment(
            time=time,
            tracks=Tracks(
                found.ids[rows],
                detections.boxes[rows],
                detections.scores[rows],
                np.array([one.label for one in seen], np.int64),
            ),
            crossings=tuple(crossings),
            counts=dict(self._counts),
            occupancy={
                zone.name: sum(one.zones[place].inside for one in seen)
                for place, zone in enumerate(self._zones)
            },
        )

    def finish(self) -> Followed:
        """Return all that was found; no frame comes after it."""
        for number in sorted(self._live):
            self._end(number)
        labels = {track.number: track.label for track in self._tracks}
        return Followed(
            tuple(sorted(self._tracks, key=lambda track: track.number)),
            tuple(replace(one, label=labels[one.track]) for one in self._crossings),
            tuple(sorted(self._stays, key=lambda stay: (stay.first, stay.track, stay.zone))),
            self._seconds,
        )

    def _see(self, number: int, time: float, detections: Detections, row: int) -> list[Crossing]:
        """Take notice of a track's detection, and return the lines that it has crossed with it."""
        if number not in self._live:
            self._live[number] = _Followed(
                [LineWatch(line) for line in self._lines],
                [ZoneWatch(zone, number, self._settings.lost_seconds) for zone in self._zones],
                np.zeros(self._class_count),
                time,
            )
        track, box = self._live[number], detections.boxes[row]
        track.scores[detections.labels[row]] += detections.scores[row]
        track.last = time
        track.frames += 1
        point, size = anchor_of(box, self._settings.anchor), size_of(box)
        track.path.add(time, point, size)
        for zone in track.zones:
            zone.see(time, point)
        crossings = []
        for line, watch in zip(self._lines, track.lines, strict=True):
            if crossed := watch.see(point, self._settings.margin * size):
                left, top, right, bottom = map(float, box)
                crossings.append(
                    Crossing(
                        line=line.name,
                        direction=crossed[0],
                        track=number,
                        label=track.label,
                        time=time,
                        point=crossed[1],
                        box=(left, top, right, bottom),
                    )
                )
        return crossings

    def _end(self, number: int) -> None:
        one = self._live.pop(number)
        for zone in one.zones:
            zone.finish()
            self._stays += zone.stays
        path = tuple(one.path.finish())
        self._tracks.append(Track(number, one.label, one.first, one.last, one.frames, path))


@dataclass
class _Followed:
    """A track that is not over."""

    lines: list[LineWatch]
    zones: list[ZoneWatch]
    scores: NDArray[np.float64]  # sums, for each class
    first: float
    last: float = 0.0
    frames: int = 0
    path: Path = field(default_factory=Path)

    @property
    def label(self) -> int:
        return int(self.scores.argmax())


def anchor_of(box: Iterable[float], anchor: Anchor) -> Point:
    """Return the point of a box (4,) that crosses lines, is in zones, and leaves a tail."""
    left, top, right, bottom = map(float, box)
    return (left + right) / 2, bottom if anchor == "bottom" else (top + bottom) / 2


def size_of(box: Box) -> float:
    """Return the root of a box's area, in pixels."""
    left, top, right, bottom = map(float, box)
    return math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))
