"""Detection in a segment: parts are written as it goes, and an attempt goes on behind the last."""

import time
from collections.abc import Callable, Iterator

from fieldtrial.detection.detector import Detector
from fieldtrial.disk.work.videos import Segment, SegmentRun
from fieldtrial.video.frames import Frame
from fieldtrial.video.media.ahead import ahead
from fieldtrial.video.media.index import VideoIndex
from fieldtrial.video.media.reading import Damage, read_frames
from fieldtrial.video.segments.parts import Part, Seen, read_parts, write_part
from fieldtrial.video.segments.plan import count

PART_SECONDS = 15.0  # of work: so much is done again after a kill, at most
PART_FRAMES = 4096  # in memory at once
AHEAD_BATCHES = 2  # that are decoded while the network computes

Report = Callable[[int, int], None]  # gets the number of a part, and how many frames are done


class PartWriter:
    """Writes the parts of a segment, one after another, when there is enough for one."""

    def __init__(self, segment: SegmentRun, first: int, damage: Damage | None = None) -> None:
        self._segment, self._first, self._damage = segment, first, damage or Damage()
        self._frames = list[Seen]()
        self._since = time.monotonic()

    def add(self, frame: Frame, found: Seen) -> bool:
        """Take a frame's detections. Returns whether a part was written."""
        self._frames.append(found)
        is_long = time.monotonic() > self._since + PART_SECONDS
        if not is_long and len(self._frames) < PART_FRAMES:
            return False
        self.write(frame.number + 1)
        return True

    def write(self, until: int) -> None:
        """Write the frames before `until` that are not yet written, if there are any."""
        if until <= self._first:
            return
        skipped = [
            (max(first, self._first), min(last, until))
            for first, last in list(self._damage.stretches)
            if first < until and last > self._first
        ]
        part = Part(until, self._frames, skipped)
        write_part(self._segment.part_path(self._first), part)
        self._first, self._frames, self._since = until, [], time.monotonic()


def detect_segment(
    run: SegmentRun,
    segment: Segment,
    index: VideoIndex,
    stride: int,
    detector: Detector,
    batch_size: int,
    report: Report,
) -> None:
    """Detect objects in the frames of a segment that have no detections yet.

    report: is called after each part, and may raise.

    Raises:
        ValueError: the video has changed since it was indexed.
        OSError: the disk is full, or the video cannot be read.
    """
    parts = list(read_parts(run, segment.first))
    first, number = (parts[-1].until if parts else segment.first), len(parts)
    report(number, count(segment.first, first, stride))
    if first >= segment.last:
        return
    damage = Damage()
    writer = PartWriter(run, first, damage)
    frames = ahead(
        read_frames(index, first, segment.last, stride, damage), AHEAD_BATCHES * batch_size
    )
    try:
        for batch in _batches(frames, batch_size):
            found = detector.detect([frame.image for frame in batch])
            for frame, detections in zip(batch, found, strict=True):
                if writer.add(frame, Seen(frame.number, frame.time, detections)):
                    number += 1
                    report(number, count(segment.first, frame.number + 1, stride))
    finally:
        frames.close()
    writer.write(segment.last)
    report(number + 1, count(segment.first, segment.last, stride))


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    batch = list[Frame]()
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
