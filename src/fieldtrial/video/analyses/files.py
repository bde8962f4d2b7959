"""An analysis of video files, from detection to the report; the same call again continues it."""

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from fieldtrial.command_line import BAD_RESULT, said_if_long, say
from fieldtrial.disk.files import write_json
from fieldtrial.disk.work.videos import Segment, VideosFolder
from fieldtrial.video.analyses.following import Found, Source, follow
from fieldtrial.video.analyses.summing import agreed_with, conclude, labels_of
from fieldtrial.video.media.joining import join_videos
from fieldtrial.video.media.reading import read_frames
from fieldtrial.video.names import class_names_of
from fieldtrial.video.options import Options
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.pages.drawing import TAIL_SECONDS
from fieldtrial.video.pages.stills import MOST_KEPT, Background, write_picture
from fieldtrial.video.segments.plan import count, lead, skipped_seconds
from fieldtrial.video.summary import SkippedPart, VideoSummary, scattered
from fieldtrial.video.tracking.replay import stretch_of
from fieldtrial.video.videos import Video, end_of

# Does tasks, {run directory: how many frames}, of which the first argument says what they are, and
# the third how many frames are done of all. Returns a line for each task that has failed.
RunTasks = Callable[[str, Mapping[str, int], int], list[str]]


def analyse(
    folder: VideosFolder, videos: Sequence[Video], options: Options, run_tasks: RunTasks
) -> int:
    """Detect, follow, draw and report. Returns the exit status: 1 where a task has failed.

    Raises:
        OSError: the disk is full, or a file cannot be read.
        What `run_tasks` raises.
    """
    segments = [segment for video in videos for segment in video.segments]
    if not _run(folder, "detect", segments, options, run_tasks):
        return BAD_RESULT
    class_names = class_names_of(folder)
    sources = [Source(video.name, video.index.rate, video.segments) for video in videos]
    with said_if_long("following the vehicles"):
        found = follow(folder, sources, class_names, options)
    drawings = _plan_drawings(folder, videos, found, options)
    if not _run(folder, "draw", drawings, options, run_tasks):
        return BAD_RESULT
    with said_if_long("joining the segments, writing the report"):
        _join(folder, videos, drawings)
        _draw_stills(folder, videos)
        indexes, agreed = [video.index for video in videos], None
        if labels := labels_of(options, indexes, class_names):
            looked_at = range(0, len(indexes[0]), options.stride)
            agreed = agreed_with(
                *(labels, folder, videos[0].name, looked_at, found[0].followed, options),
                class_names,
            )
        summaries = [_of_video(*one) for one in zip(videos, found, strict=True)]
        conclude(folder, summaries, options, class_names, agreed)
    return 0


def _run(
    folder: VideosFolder,
    what: str,
    segments: Sequence[Segment],
    options: Options,
    run_tasks: RunTasks,
) -> bool:
    """Run the tasks that have no result. Returns whether all have one then."""
    sizes = {one.name: count(one.first, one.last, options.stride) for one in segments}
    left = {name: size for name, size in sizes.items() if folder.run(name).result() is None}
    failed = run_tasks(what, left, sum(sizes.values()) - sum(left.values()))
    for line in failed:
        say(f"failed: {line}")
    if failed:
        say(f"{len(failed)} tasks have failed; run the same command again to try them once more")
    return not failed


def _plan_drawings(
    folder: VideosFolder, videos: Sequence[Video], found: Sequence[Found], options: Options
) -> list[Segment]:
    """Make the tasks of drawing, and remove those of other options, with their pictures."""
    version, (lines, _) = options.version(), options.places
    drawings = [
        Segment("draw", one.video, one.first, one.last, version)
        for video in videos
        for one in video.segments
    ]
    names = {segment.name for segment in drawings}
    if others := [name for name in folder.tasks("draw") if name not in names]:
        Outcome(folder.folder).snapshots_folder.rmtree()
        for name in others:
            folder.run(name).folder.rmtree()
    for segment in drawings:
        run, index = folder.segment_run(segment.name), videos[segment.video].index
        begin = lead(index.times, segment.first, TAIL_SECONDS)
        followed = found[segment.video].followed
        first = float(index.times[begin]) if segment.first else -math.inf
        stretch = stretch_of(followed, lines, first, end_of(index, segment.last))
        run.create(segment)
        write_json(run.stretch_path, msgspec.to_builtins(stretch))
    return drawings


def _join(folder: VideosFolder, videos: Sequence[Video], drawings: Sequence[Segment]) -> None:
    """Make one annotated video of each video's segments."""
    for number, video in enumerate(videos):
        names = [one.name for one in drawings if one.video == number]
        begins = [(folder.run(name).result() or {}).get("begins") for name in names]
        parts = [
            (folder.segment_run(name).video_path, float(begin))
            for name, begin in zip(names, begins, strict=True)
            if begin is not None  # otherwise none of its frames can be decoded
        ]
        if parts:
            join_videos(parts, Outcome(folder.folder).annotated_path(video.name))


def _draw_stills(folder: VideosFolder, videos: Sequence[Video]) -> None:
    """Write a picture of each place without vehicles, unless it is there."""
    for video in videos:
        path = Outcome(folder.folder).still_path(video.name)
        if path.exists():
            continue
        background, keys = Background(), video.index.key_frames
        for number in map(int, keys[:: math.ceil(len(keys) / MOST_KEPT)]):
            for frame in read_frames(video.index, number, number + 1):
                background.add(frame.image)
        if (picture := background.picture()) is not None:
            write_picture(path, picture)


def _of_video(video: Video, found: Found) -> VideoSummary:
    index = video.index
    skipped = [
        SkippedPart(first=first, last=last, frames=frames, reason="damaged")
        for first, last, frames in skipped_seconds(index.times, found.skipped, index.duration)
    ]
    if index.lost:
        why = "missing in the file"
        skipped.append(scattered(index.duration, index.lost, index.rate, why))
    if index.missing_seconds:
        end = index.duration + index.missing_seconds
        skipped.append(
            SkippedPart(first=index.duration, last=end, frames=None, reason="missing at the end")
        )
    return VideoSummary(
        name=video.name,
        width=index.width,
        height=index.height,
        seconds=index.duration,
        frames=found.frames,
        detections=found.detections,
        tracks=len(found.followed.tracks),
        skipped=skipped,
    )
