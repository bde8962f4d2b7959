"""detections.parquet: each detection of each frame, with its track."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fieldtrial.detection.boxes import Detections
from fieldtrial.disk.files import atomic_file
from fieldtrial.disk.reading import UnreadableError, open_file
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.tracking.analysis import Analysis
from fieldtrial.video.tracking.tracker import NONE

TEXT = pa.dictionary(pa.int32(), pa.string())
CORNERS = ("x1", "y1", "x2", "y2")
COLUMNS = pa.schema(
    {
        "video": TEXT,
        "frame": pa.int64(),
        "time": pa.float64(),
        **dict.fromkeys((*CORNERS, "score"), pa.float32()),
        "class": TEXT,
        "track": pa.int64(),
    }
)
GROUP_ROWS = 50_000  # detections that are in memory at once


@dataclass(frozen=True, eq=False)
class FrameRows:
    """The detections of a frame, with the number of each one's track, or NONE."""

    number: int
    time: float
    detections: Detections
    tracks: NDArray[np.int64]


@contextlib.contextmanager
def written_detections(outcome: Outcome, class_names: Sequence[str]) -> Iterator["DetectionTable"]:
    """Open detections.parquet to be written; it is there when the `with` block has ended well.

    A row is a detection: video, frame, time in seconds, x1, y1, x2 and y2 in pixels of the upright
    frame, score, class, and the number of its track, null where it belongs to none.
    """
    with (
        atomic_file(outcome.detections_path) as file,
        pq.ParquetWriter(file, COLUMNS) as writer,
    ):
        table = DetectionTable(writer, class_names)
        yield table
        table.flush(0)


class DetectionTable:
    """Takes detections frame by frame, and keeps few in memory."""

    def __init__(self, writer: Any, class_names: Sequence[str]) -> None:
        self._writer = writer
        self._class_names = pa.array(list(class_names), pa.string())
        self._frames = list[tuple[str, FrameRows]]()
        self._rows = 0

    def add(
        self, video: str, number: int, time: float, detections: Detections, analysis: Analysis
    ) -> None:
        """Add a frame's detections, of which `analysis` was just told.

        Videos come one after the other, each with its frames in order.
        """
        found = analysis.assigned
        for earlier in found.earlier:
            self._frames[-1][1].tracks[earlier.row] = earlier.track
        if self._rows >= GROUP_ROWS:
            self.flush(1)  # the next frame may say of which tracks this one's detections are
        self._frames.append((video, FrameRows(number, time, detections, found.ids.copy())))
        self._rows += len(detections)

    def flush(self, keep: int) -> None:
        """Write all frames but the last `keep`."""
        written = self._frames[: len(self._frames) - keep]
        self._frames = self._frames[len(written) :]
        self._rows = sum(len(frame.tracks) for _, frame in self._frames)
        lengths = [len(frame.tracks) for _, frame in written]
        if not any(lengths):
            return
        videos = sorted({video for video, _ in written})
        boxes = np.concatenate([frame.detections.boxes for _, frame in written])
        tracks = np.concatenate([frame.tracks for _, frame in written])

        def repeated(values: Sequence[float], kind: type) -> NDArray[Any]:
            return np.repeat(np.array(values, kind), lengths)

        own = repeated([videos.index(video) for video, _ in written], np.int32)
        labels = np.concatenate([frame.detections.labels for _, frame in written])
        columns = [
            pa.DictionaryArray.from_arrays(own, pa.array(videos, pa.string())),
            repeated([frame.number for _, frame in written], np.int64),
            repeated([frame.time for _, frame in written], np.float64),
            *boxes.T,
            np.concatenate([frame.detections.scores for _, frame in written]),
            pa.DictionaryArray.from_arrays(labels.astype(np.int32), self._class_names),
            pa.array(tracks, mask=tracks == NONE),
        ]
        self._writer.write_table(pa.table(columns, COLUMNS))


def read_detections(
    outcome: Outcome, video: str, class_names: Sequence[str], first: int = 0, last: int = 1 << 62
) -> dict[int, FrameRows]:
    """Return the detections of a video's frames first ≤ number < last; by number, those that have
    any.

    Raises:
        UnreadableError: detections.parquet is not what this program writes.
        OSError: it cannot be read, or is not there.
    """
    path = outcome.detections_path
    chosen = [("video", "==", video), ("frame", ">=", first), ("frame", "<", last)]
    try:
        with open_file(path) as file:
            table = pq.ParquetFile(file)
            if not table.schema_arrow.equals(COLUMNS):
                raise UnreadableError(f"{path}: not a table of detections of this program")
            file.seek(0)
            rows = pq.read_table(file, filters=chosen)
            labels = _labels(rows["class"], class_names)
    except (pa.ArrowException, ValueError) as error:
        raise UnreadableError(
            f"{path}: not a table of detections of this program: {error}"
        ) from None
    numbers = rows["frame"].to_numpy()
    times = rows["time"].to_numpy()
    boxes = np.column_stack([rows[name].to_numpy() for name in CORNERS]).astype(np.float32)
    scores = rows["score"].to_numpy()
    tracks = rows["track"].fill_null(NONE).to_numpy()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    ends = [*starts[1:], len(numbers)]
    return {
        int(numbers[start]): FrameRows(
            int(numbers[start]),
            float(times[start]),
            Detections(boxes[start:end], scores[start:end], labels[start:end]),
            tracks[start:end],
        )
        for start, end in zip(starts, ends, strict=True)
    }


def _labels(column: Any, class_names: Sequence[str]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(class_names)}
    names = column.cast(pa.string()).to_pylist()
    if unknown := sorted(set(names) - set(numbers)):
        raise ValueError(f"class {unknown[0]!r}; must be one of {', '.join(class_names)}")
    return np.array([numbers[name] for name in names], np.int64)
