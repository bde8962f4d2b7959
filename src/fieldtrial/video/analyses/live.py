"""A live stream: what comes is detected, followed, drawn and kept at once, in one process.

Detections are kept in parts, as those of files are, and the tables come from them at the end. So
after a crash the next command writes the tables of what was seen.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypedDict

from fieldtrial.command_line import INTERRUPTED, said_if_long, say
from fieldtrial.config import ConfigError
from fieldtrial.detection.detector import Detector
from fieldtrial.disk.files import read_json, write_json
from fieldtrial.disk.schemas import Seconds
from fieldtrial.disk.work.videos import Segment, SegmentRun, VideosFolder
from fieldtrial.panel.progress import Advance
from fieldtrial.panel.terminal import console
from fieldtrial.video.analyses.following import Found, Source, follow
from fieldtrial.video.analyses.summing import conclude
from fieldtrial.video.frames import Frame
from fieldtrial.video.media.streams import StreamStatistics, read_stream
from fieldtrial.video.media.writing import VideoWriter
from fieldtrial.video.names import video_names
from fieldtrial.video.options import Options
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.drawing import Drawing
from fieldtrial.video.pages.snapshots import snapshot_name, write_snapshot
from fieldtrial.video.pages.stills import Background, write_picture
from fieldtrial.video.segments.detect import PartWriter
from fieldtrial.video.segments.parts import Seen
from fieldtrial.video.segments.work import open_detector
from fieldtrial.video.summary import Side, SkippedPart, VideoSummary, scattered
from fieldtrial.video.tracking.analysis import Analysis
from fieldtrial.video.videos import require_inside

SEGMENT = Segment("detect", 0, 0, 0)  # one without an end


class StreamFacts(TypedDict):
    """What is known of a stream beside its detections."""

    width: Side
    height: Side
    rate: float
    class_names: list[str]
    gaps: list[tuple[Seconds, Seconds]]
    damaged: int
    dropped: int


def analyse_stream(
    folder: VideosFolder, url: str, options: Options, check_ownership: Callable[[], None]
) -> int:
    """Analyse a stream until its end, for options.seconds, or until Ctrl-C; return the exit status.

    url: with its password; `options` have it without.
    check_ownership: is called after each part, and raises if another process has taken over.

    Raises:
        ConfigError: a stream was analysed in the folder before; lines are outside of the frame.
        ValueError: nothing that is a video comes from there.
        OSError: the disk is full. What was seen is there, and the next command writes its tables.
    """
    run, status = folder.segment_run(SEGMENT.name), 0
    if Outcome(folder.folder).summary_path.exists():
        problem = f"{folder.path} holds a stream's analysis, which is over; give another --run"
        raise ConfigError([problem])
    if run.exists():
        say(f"{folder.path}: what was seen of the stream is written; another --run goes on with it")
    else:
        status = _watch(folder, run, url, options, check_ownership)
    with said_if_long("writing tables and report"):
        _conclude(folder, options)
    return status


def _watch(
    folder: VideosFolder,
    run: SegmentRun,
    url: str,
    options: Options,
    check_ownership: Callable[[], None],
) -> int:
    """Detect, draw and keep what comes. Returns INTERRUPTED after Ctrl-C, otherwise 0."""
    # A batch is always filled up, and frames come one by one.
    detector, told = open_detector(replace(options.detector, batch_size=1)), StreamStatistics()
    stream = read_stream(url, options.seconds, told)
    with contextlib.closing(stream):
        first = next(stream, None)
        if first is None:
            raise ValueError(f"{options.videos[0]}: the stream ended before its first frame")
        size = first.image.shape[1], first.image.shape[0]
        require_inside([options.videos[0]], [size], *options.places)
        folder.write_options(options.to_json())
        watch = _Watch(folder, run, size, options, detector, told)
        status = 0
        try:
            with watch.opened(), Advance(console(), "live", 0) as progress:
                watch.see(first)
                for frame in stream:
                    if watch.see(frame):
                        check_ownership()
                    progress.add(1)
        except KeyboardInterrupt as interruption:
            if type(interruption) is not KeyboardInterrupt:  # another process takes over
                raise
            status = INTERRUPTED
    if told.ended == "lost":
        console().print(f"{options.videos[0]}: the stream stopped, and did not come back")
    return status


class _Watch:
    """What is done with each frame."""

    def __init__(
        self,
        folder: VideosFolder,
        run: SegmentRun,
        size: tuple[int, int],
        options: Options,
        detector: Detector,
        told: StreamStatistics,
    ) -> None:
        self._folder, self._run, self._options, self._told = folder, run, options, told
        self._outcome, self._size = Outcome(folder.folder), size
        self._name, self._detector = video_names(options.videos)[0], detector
        lines, zones = options.places
        names, self._rate = detector.class_names, told.rate or 25.0
        rate = self._rate / options.stride
        self._analysis = Analysis(lines, zones, names, rate, options.tracking_settings)
        anchor = options.tracking_settings.anchor
        self._drawing = Drawing(size, lines, zones, names, anchor)
        self._background = Background()
        self._next = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open the files; at the end, however it comes, what was seen is written."""
        self._run.create(SEGMENT)
        self._write_facts()
        self._parts = PartWriter(self._run, 0)
        self._writer = VideoWriter(self._outcome.annotated_path(self._name), *self._size)
        try:
            yield
        finally:
            try:
                self._parts.write(self._next)
            finally:
                self._writer.close()
            self._write_facts()
            if (picture := self._background.picture()) is not None:
                write_picture(self._outcome.still_path(self._name), picture)

    def see(self, frame: Frame) -> bool:
        """Detect, follow, draw and keep. Returns whether a part was written."""
        if frame.number % self._options.stride:
            return False
        (found,) = self._detector.detect([frame.image])
        moment = self._analysis.update(frame.time, found)
        self._writer.write(self._drawing.draw(frame.image, moment), frame.time)
        for one in moment.crossings:
            write_snapshot(
                self._outcome,
                snapshot_name(
                    *(self._name, one.line, one.direction),
                    *(self._detector.class_names[one.label], one.track, one.time),
                ),
                frame.image,
                one.box,
            )
        self._background.add(frame.image)
        self._next = frame.number + 1
        is_written = self._parts.add(frame, Seen(frame.number, frame.time, found))
        if is_written:
            self._write_facts()
        return is_written

    def _write_facts(self) -> None:
        facts = StreamFacts(
            width=self._size[0],
            height=self._size[1],
            rate=self._rate,
            class_names=list(self._detector.class_names),
            gaps=list(self._told.gaps),
            damaged=self._told.damaged,
            dropped=self._told.dropped,
        )
        write_json(self._folder.index_path(0), facts)


def _conclude(folder: VideosFolder, options: Options) -> None:
    """Write tables, summary and report of what is kept."""
    facts: StreamFacts | None = read_json(folder.index_path(0), StreamFacts)
    if facts is None:
        raise FileNotFoundError(f"{folder.index_path(0)}: no such file")
    (name,), names = video_names(options.videos), facts["class_names"]
    (found,) = follow(folder, [Source(name, facts["rate"], [SEGMENT])], names, options)
    _rename_snapshots(folder, name, found, names)
    result = {"outcome": "finished", "frames": found.frames, "class_names": names}
    folder.run(SEGMENT.name).write_result(result)
    conclude(folder, [_summary(name, facts, found)], options, names)


def _rename_snapshots(
    folder: VideosFolder, video: str, found: Found, class_names: list[str]
) -> None:
    """Give snapshots the class of their track's whole life, which was not known at the crossing."""
    pictures = Outcome(folder.folder).snapshots_folder
    for one in found.followed.crossings:
        names = [
            snapshot_name(video, one.line, one.direction, name, one.track, one.time)
            for name in class_names
        ]
        right = pictures / names[one.label]
        for name in names:
            if not right.exists() and (pictures / name).exists():
                (pictures / name).rename(right)


def _summary(name: str, facts: StreamFacts, found: Found) -> VideoSummary:
    skipped = [
        SkippedPart(first=first, last=last, frames=None, reason="the stream had stopped")
        for first, last in facts["gaps"]
    ]
    end = found.followed.seconds
    for count, why in (
        (facts["damaged"], "frames were damaged on the way"),
        (facts["dropped"], "frames came faster than they were analysed"),
    ):
        if count:
            skipped.append(scattered(end, count, facts["rate"], why))
    return VideoSummary(
        name=name,
        width=facts["width"],
        height=facts["height"],
        seconds=end,
        frames=found.frames,
        detections=found.detections,
        tracks=len(found.followed.tracks),
        skipped=skipped,
    )
