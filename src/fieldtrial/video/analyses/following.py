"""Tracks and counts of whole videos, in one pass over the detections of all their segments.

So a count does not depend on how a video was cut, and no overlap is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.work.videos import Segment, VideosFolder
from fieldtrial.video.options import Options
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.segments.parts import Seen, Stretch, joined, read_parts
from fieldtrial.video.tracking.analysis import Analysis, Followed
from fieldtrial.video.tracking.detection_table import written_detections
from fieldtrial.video.tracking.tables import write_tables


@dataclass(frozen=True)
class Source:
    """A video to follow: `rate` is its frames/s, `segments` are all of its, in order."""

    name: str
    rate: float
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Found:
    """What was found in a video.

    Attributes:
        followed: its tracks, crossings and stays.
        frames, detections: how many frames were looked at, and how many objects are in them.
        skipped: frames that could not be decoded.
    """

    followed: Followed
    frames: int
    detections: int
    skipped: Sequence[Stretch]


def follow(
    folder: VideosFolder, sources: Sequence[Source], class_names: Sequence[str], options: Options
) -> list[Found]:
    """Follow the vehicles of each video, and write the tables. Memory does not grow with frames.

    Raises:
        UnreadableError: detections are damaged or gone; their task is removed.
        OSError: the disk is full, or a file cannot be read.
    """
    outcome, (lines, zones) = Outcome(folder.folder), options.places
    found = []
    with written_detections(outcome, class_names) as table:
        for source in sources:
            rate = source.rate / options.stride
            analysis = Analysis(lines, zones, class_names, rate, options.tracking_settings)
            frames = detections = 0
            skipped = list[Stretch]()
            for one in _seen(folder, source.segments, skipped):
                analysis.update(one.time, one.detections)
                table.add(source.name, one.number, one.time, one.detections, analysis)
                frames += 1
                detections += len(one.detections)
            found.append(Found(analysis.finish(), frames, detections, joined(skipped)))
    followed = {one.name: what.followed for one, what in zip(sources, found, strict=True)}
    write_tables(outcome, followed, lines, zones, class_names)
    return found


def _seen(
    folder: VideosFolder, segments: Sequence[Segment], skipped: list[Stretch]
) -> Iterator[Seen]:
    """Yield the frames of all parts in order, and note what was skipped."""
    for segment in segments:
        run, until = folder.segment_run(segment.name), segment.first
        for part in read_parts(run, segment.first):
            skipped += part.skipped
            until = part.until
            yield from part.frames
        if until < segment.last:
            run.run.folder.rmtree()
            raise UnreadableError(
                f"{run.part_path(until)}: no detections of this program, although the task has"
                " ended; run the same command again, which does the task once more"
            )
