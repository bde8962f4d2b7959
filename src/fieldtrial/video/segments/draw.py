"""Drawing in a segment: its frames with tracks and counts, and snapshots of what crosses a line."""

import contextlib
import time
from collections.abc import Callable

from fieldtrial.disk.files import read_json
from fieldtrial.disk.work.videos import Segment, SegmentRun, VideosFolder
from fieldtrial.video.media.ahead import ahead
from fieldtrial.video.media.index import VideoIndex
from fieldtrial.video.media.reading import read_frames
from fieldtrial.video.media.writing import VideoWriter
from fieldtrial.video.names import class_names_of, video_names
from fieldtrial.video.options import Options
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.drawing import TAIL_SECONDS, Drawing
from fieldtrial.video.pages.snapshots import snapshot_name, write_snapshot
from fieldtrial.video.segments.plan import count, lead
from fieldtrial.video.tracking.detection_table import read_detections
from fieldtrial.video.tracking.replay import Replay, Stretch

REPORT_SECONDS = 5.0
AHEAD_FRAMES = 8


def draw_segment(
    folder: VideosFolder,
    run: SegmentRun,
    segment: Segment,
    index: VideoIndex,
    options: Options,
    report: Callable[[int, int], None],
) -> float | None:
    """Write the segment's part of the annotated video, and its snapshots.

    Returns the time of its first frame in seconds, or None if none could be decoded.

    What was found, and `stretch.json` of its run directory, must be there.

    Raises:
        ValueError: a file of the analysis is damaged, or the video has changed.
        OSError: the disk is full, or a file cannot be read.
    """
    report(0, 0)
    outcome, lines, zones = Outcome(folder.folder), *options.places
    stretch: Stretch | None = read_json(run.stretch_path, Stretch)
    if stretch is None:
        raise FileNotFoundError(f"{run.stretch_path}: no such file")
    video, class_names = video_names(options.videos)[segment.video], class_names_of(folder)
    begin = lead(index.times, segment.first, TAIL_SECONDS)
    found = read_detections(outcome, video, class_names, begin, segment.last)
    anchor = options.tracking_settings.anchor
    replay = Replay(stretch, found, lines, zones, anchor)
    drawing = Drawing((index.width, index.height), lines, zones, class_names, anchor)
    for number in range(begin, segment.first):
        if number % options.stride == 0:
            drawing.see(replay.moment(number, float(index.times[number])))
    part, since, begins = 1, time.monotonic(), None
    frames = ahead(read_frames(index, segment.first, segment.last, options.stride), AHEAD_FRAMES)
    writing = VideoWriter(run.video_path, index.width, index.height)
    with contextlib.closing(frames), writing as writer:
        for frame in frames:
            begins = frame.time if begins is None else begins
            moment = replay.moment(frame.number, frame.time)
            writer.write(drawing.draw(frame.image, moment), frame.time)
            for one in moment.crossings:
                name = snapshot_name(
                    *(video, one.line, one.direction, class_names[one.label], one.track, one.time)
                )
                write_snapshot(outcome, name, frame.image, one.box)
            if time.monotonic() > since + REPORT_SECONDS:
                part, since = part + 1, time.monotonic()
                report(part, count(segment.first, frame.number + 1, options.stride))
    report(part + 1, count(segment.first, segment.last, options.stride))
    return begins
