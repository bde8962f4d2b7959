"""Detections of a stretch of frames, as files: written as they come, and read again in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldtrial.detection.boxes import Detections
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError, open_file
from fieldtrial.disk.work.videos import SegmentRun

Stretch = tuple[int, int]  # numbers of frames, of which the last is not in it
KINDS = {
    "numbers": (np.int64, 1),
    "times": (np.float64, 1),
    "counts": (np.int64, 1),
    "boxes": (np.float32, 2),
    "scores": (np.float32, 1),
    "labels": (np.int64, 1),
    "skipped": (np.int64, 2),
    "until": (np.int64, 0),
}


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
    write_arrays(
        path,
        numbers=np.array([frame.number for frame in part.frames], np.int64),
        times=np.array([frame.time for frame in part.frames], np.float64),
        counts=np.array([len(one) for one in found], np.int64),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in found)]),
        scores=np.concatenate([np.zeros(0, np.float32), *(one.scores for one in found)]),
        labels=np.concatenate([np.zeros(0, np.int64), *(one.labels for one in found)]),
        skipped=np.array(part.skipped, np.int64).reshape(-1, 2),
        until=np.int64(part.until),
    )


def read_part(path: Inside) -> Part:
    """Return what `write_part` wrote.

    Raises:
        UnreadableError: the file is not one of this program's.
        OSError: it cannot be read.
    """
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in KINDS}
        _check(found)
    except (ValueError, KeyError, EOFError, TypeError) as error:
        raise UnreadableError(f"{path}: no detections of this program: {error}") from None
    ends = np.cumsum(found["counts"])
    frames = [
        Seen(
            int(number),
            float(time),
            Detections(*(found[name][end - count : end] for name in ("boxes", "scores", "labels"))),
        )
        for number, time, end, count in zip(
            found["numbers"], found["times"], ends, found["counts"], strict=True
        )
    ]
    skipped = [(int(first), int(last)) for first, last in found["skipped"]]
    return Part(int(found["until"]), frames, skipped)


def _check(found: dict[str, Any]) -> None:
    for name, (kind, dimensions) in KINDS.items():
        if found[name].dtype != kind or found[name].ndim != dimensions:
            raise ValueError(f"{name} has another form")
    counts = found["counts"]
    objects = int(counts.sum())
    same = {len(found[name]) for name in ("numbers", "times", "counts")}
    if (
        len(same) > 1
        or (counts < 0).any()
        or found["boxes"].shape != (objects, 4)
        or any(found[name].shape != (objects,) for name in ("scores", "labels"))
        or found["skipped"].shape[1] != 2
        or (np.diff(found["numbers"]) <= 0).any()
        or not np.isfinite(found["times"]).all()
    ):
        raise ValueError("its arrays do not belong together")


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
