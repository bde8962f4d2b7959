"""The moments of a stretch of a video again, for a process that has not followed it itself."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fieldtrial.detection.boxes import Detections
from fieldtrial.video.geometry import Line, Zone
from fieldtrial.video.moments import Crossing, Moment, Tracks
from fieldtrial.video.tracking.analysis import Followed, anchor_of
from fieldtrial.video.tracking.detection_table import FrameRows
from fieldtrial.video.tracking.settings import Anchor
from fieldtrial.video.tracking.tracker import NONE


@dataclass(frozen=True)
class Stretch:
    """What was counted in a stretch of a video, beside its detections. It can be kept as JSON.

    Attributes:
        before: how many had crossed each line before the stretch, right and left.
        crossings: those in it, in the order of time.
        labels: of the tracks in it, by number: the class of a track's whole life.
    """

    before: dict[str, tuple[int, int]]
    crossings: tuple[Crossing, ...]
    labels: dict[int, int]


def stretch_of(followed: Followed, lines: Sequence[Line], first: float, last: float) -> Stretch:
    """Return what was counted in a video from the time `first` on and before `last`."""
    past = [(one.line, one.direction) for one in followed.crossings if one.time < first]
    return Stretch(
        {
            line.name: (past.count((line.name, "right")), past.count((line.name, "left")))
            for line in lines
        },
        tuple(one for one in followed.crossings if first <= one.time < last),
        {
            one.number: one.label
            for one in followed.tracks
            if one.first < last and one.last >= first
        },
    )


class Replay:
    """Returns the moments of a stretch, frame by frame, in order.

    Tracks have the class of their whole life, and a track's first detection is known to be one.

    frames: the detections of the stretch, as `read_detections` returns them.
    """

    def __init__(
        self,
        stretch: Stretch,
        frames: Mapping[int, FrameRows],
        lines: Sequence[Line],
        zones: Sequence[Zone],
        anchor: Anchor,
    ) -> None:
        self._stretch, self._frames = stretch, frames
        self._zones, self._anchor = zones, anchor
        self._times = [one.time for one in stretch.crossings]
        self._shown = 0  # crossings
        self._counts = {
            (line.name, way): stretch.before[line.name][place]
            for line in lines
            for place, way in enumerate(("right", "left"))
        }

    def moment(self, number: int, time: float) -> Moment:
        """Return the moment of the frame with this number and time."""
        until = bisect.bisect_right(self._times, time)
        crossings = self._stretch.crossings[self._shown : until]
        self._shown = max(self._shown, until)
        for one in crossings:
            self._counts[one.line, one.direction] += 1
        tracks = self._tracks(number)
        points = [anchor_of(box, self._anchor) for box in tracks.boxes]
        return Moment(
            time=time,
            tracks=tracks,
            crossings=crossings,
            counts=dict(self._counts),
            occupancy={zone.name: sum(map(zone.holds, points)) for zone in self._zones},
        )

    def _tracks(self, number: int) -> Tracks:
        if number not in self._frames:
            empty = np.zeros(0, np.int64)
            none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), empty)
            return Tracks(empty, none.boxes, none.scores, none.labels)
        frame = self._frames[number]
        kept = frame.tracks != NONE
        ids = frame.tracks[kept]
        return Tracks(
            ids,
            frame.detections.boxes[kept],
            frame.detections.scores[kept],
            np.array([self._stretch.labels[int(track)] for track in ids], np.int64),
        )
