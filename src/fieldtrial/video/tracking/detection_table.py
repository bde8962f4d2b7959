"""detections.parquet: each detection of each frame, with its track."""

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
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
MOST_GROUP_ROWS = 1_000_000  # that are read at once; a group ends with a whole frame
LAST_FRAME = 2**62


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
        table.flush()


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
            self.flush()  # of the frame before, all is known now
        if len(detections):  # hours of an empty road would fill the memory
            self._frames.append((video, FrameRows(number, time, detections, found.ids.copy())))
            self._rows += len(detections)

    def flush(self) -> None:
        """Write all frames."""
        written, self._frames, self._rows = self._frames, [], 0
        if not written:
            return
        lengths = [len(frame.tracks) for _, frame in written]
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
    outcome: Outcome,
    video: str,
    class_names: Sequence[str],
    first: int = 0,
    last: int = LAST_FRAME,
    only: Collection[int] | None = None,
) -> dict[int, FrameRows]:
    """Return the detections of a video's frames first ≤ number < last, or of those in `only`; by
    number, frames that have any.

    Raises:
        UnreadableError: detections.parquet is not what this program writes.
        OSError: it cannot be read, or is not there.
    """
    path = outcome.detections_path
    wanted = None if only is None else np.array(sorted(only), np.int64)
    if wanted is not None and len(wanted):
        first, last = max(first, int(wanted[0])), min(last, int(wanted[-1]) + 1)
    parts = list[_Rows]()
    with open_file(path) as file:
        try:
            table = pq.ParquetFile(file)
            if not table.schema_arrow.equals(COLUMNS):
                raise ValueError("it has other columns")
            for group in _groups(table.metadata, first, last):
                part = _Rows.read(table.read_row_group(group), video, class_names)
                kept = part.ours & (part.frames >= first) & (part.frames < last)
                if wanted is not None:
                    kept &= np.isin(part.frames, wanted)
                parts.append(part.chosen(kept))
        # What is no Parquet is an OSError to Arrow.
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise UnreadableError(
                f"{path}: not a table of detections of this program: {error}"
            ) from None
    return {number: frame for part in parts for number, frame in part.by_frame()}


def _groups(about: Any, first: int, last: int) -> Iterator[int]:
    """Yield the groups of rows that may have frames first ≤ number < last.

    Raises:
        ValueError: a group is larger than this program makes them; it may not fit into memory.
    """
    for group in range(about.num_row_groups):
        one = about.row_group(group)
        if one.num_rows > MOST_GROUP_ROWS:
            raise ValueError(f"{one.num_rows:,} rows in one group")
        known = one.column(COLUMNS.get_field_index("frame")).statistics
        if known is None or not known.has_min_max or (known.max >= first and known.min < last):
            yield group


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of the table, in arrays."""

    ours: NDArray[np.bool_]  # of the video that is asked for
    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    tracks: NDArray[np.int64]

    @staticmethod
    def read(rows: Any, video: str, class_names: Sequence[str]) -> "_Rows":
        if any(rows[name].null_count for name in COLUMNS.names if name != "track"):
            raise ValueError("a value is missing")
        return _Rows(
            _numbers(rows["video"], {video: 0}) == 0,
            rows["frame"].to_numpy(),
            rows["time"].to_numpy(),
            np.column_stack([rows[name].to_numpy() for name in CORNERS]).astype(np.float32),
            rows["score"].to_numpy(),
            _labels(rows["class"], class_names),
            rows["track"].fill_null(NONE).to_numpy(),
        )

    def chosen(self, kept: NDArray[np.bool_]) -> "_Rows":
        """Return the rows that are kept."""
        return _Rows(*(getattr(self, one.name)[kept] for one in fields(self)))

    def by_frame(self) -> Iterator[tuple[int, FrameRows]]:
        """Yield the frames with their numbers."""
        starts = np.flatnonzero(np.diff(self.frames, prepend=-1))
        for start, end in itertools.pairwise([*starts, len(self.frames)]):
            number = int(self.frames[start])
            found = Detections(
                self.boxes[start:end], self.scores[start:end], self.labels[start:end]
            )
            yield number, FrameRows(number, float(self.times[start]), found, self.tracks[start:end])


def _numbers(column: Any, known: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the numbers (n,) of the names in a column; -1 for other names."""
    parts = [
        np.array([*(known.get(name, -1) for name in chunk.dictionary.to_pylist()), -1])[
            chunk.indices.to_numpy()
        ]
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _labels(column: Any, class_names: Sequence[str]) -> NDArray[np.int64]:
    labels = _numbers(column, {name: number for number, name in enumerate(class_names)})
    if len(unknown := np.flatnonzero(labels < 0)):
        name = column[int(unknown[0])].as_py()
        raise ValueError(f"class {name!r}; must be one of {', '.join(class_names)}")
    return labels
