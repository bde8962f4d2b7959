"""Detections become tracks, by ByteTrack.

ByteTrack's tracks go on with weak detections, too, which is what a half-hidden vehicle gives: Y.
Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022.

Boxes are compared with a buffer around them, the wider the rarer frames are, because nobody knows
where a vehicle goes at its first step: F. Yang et al., "Hard to Track Objects with Irregular
Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", WACV 2023.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial.config import ConfigError
from fieldtrial.detection.boxes import Detections
from fieldtrial.video.tracking.settings import TrackingSettings

NONE = -1  # instead of a track's number
FIRST_FRAMES = 2  # in which an object must be found, one after the other, before it is a track
# The buffer on each side of a box, in shares of its sides: as far as a vehicle that goes on by two
# of its lengths in a second gets between two frames, and at most half a box.
LENGTHS_PER_SECOND, WIDEST = 2.0, 0.5
LEAST_STEP = 1e-6  # seconds; some videos have two frames of one time, which the library warns about
LIBRARY_RATE = 30.0  # frames a second in which the library's lost_track_buffer is


@dataclass(frozen=True)
class Earlier:
    """A track's first detection, known to be one only now: the frame's before is `row`."""

    track: int
    time: float
    row: int


@dataclass(frozen=True, eq=False)
class Assigned:
    """Which detections of a frame belong to which tracks.

    Attributes:
        ids: int64 (n,), for each detection the number of its track, from 1, or NONE.
        earlier: what the frame before had of tracks that are new in this one.
        over: numbers of the tracks that are over.
    """

    ids: NDArray[np.int64]
    earlier: tuple[Earlier, ...]
    over: tuple[int, ...]


class Tracker:
    """ByteTrack of the library `trackers`, in time instead of in frames.

    rate: frames a second that `update` gets, on average; the first step of a track is that long.

    Raises:
        ConfigError: the library cannot be imported on this machine.
    """

    def __init__(self, rate: float, settings: TrackingSettings) -> None:
        self._supervision, library = _import()
        self._starts_from = settings.starts_from
        # At least two frames, or a track would be over at the next one.
        lost_seconds = max(settings.lost_seconds, 2 / rate)
        self._tracker: Any = library.ByteTrackTracker(
            lost_track_buffer=math.ceil(lost_seconds * LIBRARY_RATE),
            frame_rate=rate,
            track_activation_threshold=self._starts_from,
            high_conf_det_threshold=self._starts_from,
            minimum_consecutive_frames=FIRST_FRAMES,
            minimum_iou_threshold=settings.match_overlap,
            iou=library.BIoU(min(WIDEST, LENGTHS_PER_SECOND / rate)),
        )
        self._time = self._clock = -math.inf
        self._alive = set[int]()
        self._beginnings = dict[Any, tuple[float, int]]()  # tracklet -> time and row

    def update(self, time: float, detections: Detections) -> Assigned:
        """Return the tracks of a frame's detections.

        time: in seconds; it does not fall from call to call, and its steps may have any length.

        Raises:
            ValueError: the time falls.
        """
        if not time >= self._time:
            raise ValueError(f"frame at {time} s after one at {self._time} s: times must not fall")
        self._time = time
        self._clock = max(time, self._clock + LEAST_STEP)
        ids = np.full(len(detections), NONE, np.int64)
        given = self._supervision.Detections(
            xyxy=detections.boxes,
            confidence=detections.scores,
            data={"row": np.arange(len(detections))},
        )
        found = self._tracker.update(given, timestamp=self._clock)
        if len(found):
            tracked = found.tracker_id >= 0
            ids[found.data["row"][tracked]] = found.tracker_id[tracked] + 1
        tracklets = self._tracker.tracks
        earlier = tuple(
            Earlier(tracklet.tracker_id + 1, *self._beginnings[tracklet])
            for tracklet in tracklets
            if tracklet.tracker_id >= 0 and tracklet in self._beginnings
        )
        self._beginnings = self._new(time, detections, ids)
        alive = {tracklet.tracker_id + 1 for tracklet in tracklets if tracklet.tracker_id >= 0}
        over = tuple(sorted(self._alive - alive))
        self._alive = alive
        return Assigned(ids, earlier, over)

    def _new(
        self, time: float, detections: Detections, ids: NDArray[np.int64]
    ) -> dict[Any, tuple[float, int]]:
        """Return the tracklets that begin in this frame, with their detection.

        The library does not say which detection began a tracklet, but its state is that box.
        """
        rows = {
            box.astype(np.float64).tobytes(): row
            for row, box in reversed(list(enumerate(detections.boxes)))
            if ids[row] == NONE and detections.scores[row] >= self._starts_from
        }
        return {
            tracklet: (time, rows[box])
            for tracklet in self._tracker.tracks
            if tracklet.tracker_id < 0
            and (box := np.asarray(tracklet.get_state_bbox(), np.float64).tobytes()) in rows
        }


def _import() -> tuple[Any, Any]:
    try:
        import supervision  # late, with OpenCV and Matplotlib behind it
        import trackers
    except ImportError as error:
        raise ConfigError(
            [
                f"tracking needs the library trackers, which cannot be imported: {error}. If a"
                " library of the system is missing, such as libGL.so.1: apt-get install libgl1"
                " libglib2.0-0, or put opencv-python-headless in the place of opencv-python."
            ]
        ) from error
    return supervision, trackers
