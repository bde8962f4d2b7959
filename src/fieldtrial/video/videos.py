"""The videos of an analysis: found, indexed once, and cut into segments."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldtrial.config import ConfigError
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.disk.work.videos import Segment, VideosFolder
from fieldtrial.video.geometry import Line, Zone, outside_problems
from fieldtrial.video.media.addresses import is_stream
from fieldtrial.video.media.index import VideoIndex, index_video
from fieldtrial.video.media.sources import find_videos
from fieldtrial.video.media.stored import read_index, write_index
from fieldtrial.video.segments.plan import cut


@dataclass(frozen=True, eq=False)
class Video:
    """A video: its name in the tables, its index, and its segments' tasks of detection."""

    name: str
    index: VideoIndex
    segments: Sequence[Segment]


def find_all(texts: Sequence[str]) -> list[str]:
    """Return absolute paths, or one stream's address, for what --video says; each path once.

    Raises:
        ConfigError: with all that is wrong: what is not there, what is no video; a stream beside
            other videos.
    """
    found, problems = list[str](), list[str]()
    for text in texts:
        try:
            found += [
                str(one) if isinstance(one, str) else str(one.absolute())
                for one in find_videos(text)
            ]
        except ValueError as error:
            problems += error.problems if isinstance(error, ConfigError) else [str(error)]
    if len(found) > 1 and (streams := [one for one in found if is_stream(one)]):
        problems.append(f"{streams[0]}: a stream must be the only --video")
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(found))


def index_all(videos: Sequence[str], rate: float) -> list[VideoIndex]:
    """Return the index of each video. Raises ConfigError with all that are none."""
    indexes, problems = list[VideoIndex](), list[str]()
    for video in videos:
        try:
            indexes.append(index_video(Path(video), rate))
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return indexes


def require_inside(
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    lines: Sequence[Line],
    zones: Sequence[Zone],
) -> None:
    """Raise ConfigError, with all problems, unless lines and zones are inside of all videos."""
    problems = list[str]()
    for name, (width, height) in zip(names, sizes, strict=True):
        for problem in outside_problems(lines, zones, width, height):
            problems.append(f"{problem}, as {name} has")
    if problems:
        raise ConfigError(problems)


def stored(folder: VideosFolder, videos: Sequence[str]) -> list[VideoIndex] | None:
    """Return the indexes of videos that are in a run directory, or None where one lacks.

    Raises:
        UnreadableError: one is damaged, or of another video.
    """
    paths = [folder.index_path(number) for number in range(len(videos))]
    if not all(path.exists() for path in paths):
        return None
    indexes = [read_index(path) for path in paths]
    for path, index, video in zip(paths, indexes, videos, strict=True):
        if str(index.path) != video:
            raise UnreadableError(f"{path}: the index of another video, {index.path}, not {video}")
    return indexes


def cut_all(
    folder: VideosFolder,
    names: Sequence[str],
    indexes: Sequence[VideoIndex],
    seconds: float,
) -> list[Video]:
    """Write indexes and tasks of detection that are not there yet, and return the videos."""
    videos = []
    for number, (name, index) in enumerate(zip(names, indexes, strict=True)):
        if not folder.index_path(number).exists():
            write_index(index, folder.index_path(number))
        segments = [
            Segment("detect", number, first, last)
            for first, last in cut(index.times, index.key_frames, seconds)
        ]
        for segment in segments:
            folder.segment_run(segment.name).create(segment)
        videos.append(Video(name, index, segments))
    return videos


def end_of(index: VideoIndex, last: int) -> float:
    """Return the time of the frame after a segment; infinity after the last one."""
    return float(index.times[last]) if last < len(index) else math.inf
