"""The names that tables have for videos and for the numbers of classes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlsplit

from fieldtrial.disk.work.videos import VideosFolder
from fieldtrial.video.media.addresses import is_stream, without_password


def video_names(videos: Sequence[str]) -> list[str]:
    """Return a name for each video: its file's or, where several have the same, more of its path.

    videos: absolute paths, and addresses of streams, of which a name keeps no password.
    """
    parts = [_parts(video) for video in videos]
    names, length = ["/".join(one[-1:]) for one in parts], 1
    while length < max(map(len, parts)) and len(set(names)) < len(names):
        length += 1
        counts = Counter(names)
        names = [
            "/".join(one[-length:]) if counts[name] > 1 else name
            for name, one in zip(names, parts, strict=True)
        ]
    return names


def class_names_of(folder: VideosFolder) -> list[str]:
    """Return the names of the classes that detections have numbers of.

    Raises FileNotFoundError before a task of detection has ended.
    """
    for name in folder.tasks("detect"):
        if names := (folder.run(name).result() or {}).get("class_names"):
            return list(names)
    raise FileNotFoundError(f"{folder.path}: no detection has ended in it")


def _parts(video: str) -> tuple[str, ...]:
    if not is_stream(video):
        return PurePath(video).parts
    address = urlsplit(without_password(video))
    host = address.netloc.rpartition("@")[2]
    return (host, *filter(None, address.path.split("/")))
