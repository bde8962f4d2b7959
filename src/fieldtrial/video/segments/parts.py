"""Detections of a stretch of frames, as files: written as they come, and read again in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from fieldtrial.detection.boxes import Detections
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import LINES_BYTES, UnreadableError, read_bytes
from fieldtrial.disk.schemas import Count
from fieldtrial.disk.work.videos import SegmentRun

Stretch = tuple[int, int]  # numbers of frames, of which the last is not in it
# Of the columns of a part, as they are on disk: little-endian.
KINDS = {
    "numbers": "<i8",
    "times": "<f8",
    "counts": "<i8",
    "boxes": "<f4",
    "scores": "<f4",
    "labels": "<i8",
}


class _Stored(TypedDict):
    until: Count
    skipped: list[tuple[Count, Count]]
    columns: dict[str, bytes]


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame in which was looked for objects."""

    number: int
    time: float
    detections: Detections


@dataclass(frozen=True, eq=False)
class Part:
    """What was found in the frames of a stretch.

    until: the number of the first frame that comes after it. skipped: what could not be decoded.
    """

    until: int
    frames: Sequence[Seen]
    skipped: Sequence[Stretch] = ()


def write_part(path: Inside, part: Part) -> None:
    """Write a part, whole or not at all.

    Raises:
        OSError: there is no room, or it cannot be written.
    """
    found = [frame.detections for frame in part.frames]
    columns = {
        "numbers": np.array([frame.number for frame in part.frames]),
        "times": np.array([frame.time for frame in part.frames]),
        "counts": np.array([len(one) for one in found]),
        "boxes": np.concatenate([np.zeros((0, 4)), *(one.boxes for one in found)]),
        "scores": np.concatenate([np.zeros(0), *(one.scores for one in found)]),
        "labels": np.concatenate([np.zeros(0), *(one.labels for one in found)]),
    }
    packed = {name: columns[name].astype(kind).tobytes() for name, kind in KINDS.items()}
    stored = _Stored(until=part.until, skipped=list(part.skipped), columns=packed)
    write_atomically(path, msgspec.msgpack.encode(stored))


def read_part(path: Inside) -> Part:
    """Return what `write_part` wrote.

    Raises:
        UnreadableError: the file is not one of this program's.
        OSError: it cannot be read.
    """
    data = read_bytes(path, LINES_BYTES)
    try:
        stored = msgspec.msgpack.decode(data, type=_Stored)
        columns = {
            name: np.frombuffer(stored["columns"][name], kind) for name, kind in KINDS.items()
        }
        boxes = columns["boxes"].reshape(-1, 4)
        _check(columns, boxes)
    except (ValueError, KeyError) as error:
        raise UnreadableError(f"{path}: no detections of this program: {error}") from None
    ends = np.cumsum(columns["counts"])
    spans = [slice(end - count, end) for end, count in zip(ends, columns["counts"], strict=True)]
    frames = [
        Seen(
            int(number),
            float(time),
            Detections(boxes[span], columns["scores"][span], columns["labels"][span]),
        )
        for number, time, span in zip(columns["numbers"], columns["times"], spans, strict=True)
    ]
    return Part(stored["until"], frames, stored["skipped"])


def _check(columns: dict[str, NDArray[Any]], boxes: NDArray[np.float32]) -> None:
    """Raise ValueError unless the arrays belong together."""
    counts = columns["counts"]
    if (
        len({len(columns[name]) for name in ("numbers", "times", "counts")}) > 1
        or (counts < 0).any()
        or {len(boxes), len(columns["scores"]), len(columns["labels"])} != {int(counts.sum())}
        or (np.diff(columns["numbers"]) <= 0).any()
        or (columns["labels"] < 0).any()
        or not all(np.isfinite(columns[name]).all() for name in ("times", "boxes", "scores"))
    ):
        raise ValueError("its numbers do not belong together")


def read_parts(segment: SegmentRun, first: int) -> Iterator[Part]:
    """Yield the parts of a segment that begins with the frame `first`, as far as none is missing.

    A damaged part counts as missing: it is detected again. So does what comes after it.
    """
    paths = {path.name: path for path in segment.parts()}
    while path := paths.pop(segment.part_path(first).name, None):
        try:
            part = read_part(path)
        except UnreadableError:
            return
        if part.until <= first:
            return
        yield part
        first = part.until


def joined(skipped: Sequence[Stretch]) -> list[Stretch]:
    """Return stretches in order; those that touch or overlap are one."""
    found = list[Stretch]()
    for first, last in sorted(skipped):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found
