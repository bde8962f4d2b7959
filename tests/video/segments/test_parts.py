"""Detections as files: what was written is read, in order, and what is damaged is done again."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from fieldtrial.detection.boxes import Detections
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.work.videos import Segment, SegmentRun, VideosFolder
from fieldtrial.video.segments.parts import Part, Seen, joined, read_part, read_parts, write_part


@pytest.fixture
def segment(tmp_path: Path) -> SegmentRun:
    segment = Segment("detect", 0, 10, 40)
    run = VideosFolder(tmp_path).segment_run(segment.name)
    run.create(segment)
    return run


def seen(number: int, objects: int) -> Seen:
    numbers = np.arange(objects)
    boxes = np.stack([numbers, numbers + 1, numbers + 20, numbers + number], 1)
    scores = 1 / (1 + numbers)
    return Seen(
        number,
        number / 25,
        Detections(boxes.astype(np.float32), scores.astype(np.float32), numbers % 3),
    )


def facts(part: Part) -> object:
    frames = [
        (
            *(one.number, one.time),
            *(a.tolist() for a in vars(one.detections).values()),
        )
        for one in part.frames
    ]
    return part.until, frames, list(part.skipped)


def write(segment: SegmentRun, first: int, part: Part) -> Part:
    write_part(segment.part_path(first), part)
    return part


def test_parts_are_read_as_they_were_written_as_far_as_none_is_missing(
    segment: SegmentRun,
) -> None:
    parts = [
        write(segment, 10, Part(20, [seen(10, 2), seen(12, 0), seen(19, 1)], [(13, 19)])),
        write(segment, 20, Part(30, [])),
        write(segment, 30, Part(40, [seen(30, 3)])),
    ]
    found = list(read_parts(segment, 10))
    assert list(map(facts, found)) == list(map(facts, parts))
    assert found[0].frames[0].detections.labels.dtype == np.int64
    segment.part_path(20).unlink()
    assert [part.until for part in read_parts(segment, 10)] == [20]


def test_a_damaged_part_counts_as_missing(segment: SegmentRun) -> None:
    write(segment, 10, Part(20, [seen(10, 2), seen(12, 0)]))
    write(segment, 20, Part(30, [seen(20, 1)]))
    path = Path(segment.part_path(20))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnreadableError, match="no detections of this program"):
        read_part(segment.part_path(20))
    assert [part.until for part in read_parts(segment, 10)] == [20]
    stored = msgspec.msgpack.decode(segment.part_path(10).read_bytes())
    columns = stored["columns"]
    for wrong in (
        {"boxes": columns["boxes"][:16]},
        {"counts": np.array([3, -1]).tobytes()},
        {"times": np.array([0, np.nan]).tobytes()},
        {"labels": columns["labels"][:-1]},
    ):
        path.write_bytes(msgspec.msgpack.encode(stored | {"columns": columns | wrong}))
        with pytest.raises(UnreadableError):
            read_part(segment.part_path(20))


def test_a_part_that_leads_nowhere_is_none(segment: SegmentRun) -> None:
    write(segment, 10, Part(10, []))
    assert list(read_parts(segment, 10)) == []


def test_stretches_that_touch_are_one() -> None:
    assert joined([(5, 9), (0, 2), (9, 12), (20, 21)]) == [(0, 2), (5, 12), (20, 21)]
    assert joined([]) == []
