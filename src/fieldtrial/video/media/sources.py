"""What a user gives as a video: a file, a folder of videos, a folder of images, or a stream."""

from pathlib import Path

from fieldtrial.fields.printable import counted
from fieldtrial.video.media.addresses import PROTOCOLS, is_stream, without_password
from fieldtrial.video.media.images import IMAGE_SUFFIXES, image_names, natural

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".dav", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v"),
    *(".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"),
)


def find_videos(given: str) -> list[Path | str]:
    """Return the videos that `given` stands for: Path of a file or a folder of images, or a URL.

    A folder stands for the videos in it, in the natural order of their names, or is one video if
    only images are in it. Folders in it are not looked into.

    Raises:
        ValueError: there is none, or videos and images are in one folder.
    """
    if "://" in given:
        if not is_stream(given):
            raise ValueError(
                f"{without_password(given)}: must begin with one of"
                f" {', '.join(f'{scheme}://' for scheme in PROTOCOLS)}"
            )
        return [given]
    path = _in_utf8(Path(given))
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path}: does not exist")
        return [path]
    names = [one.name for one in path.iterdir() if one.suffix.lower() in VIDEO_SUFFIXES]
    videos = sorted((name for name in names if not name.startswith(".")), key=natural)
    images = image_names(path)
    if videos and images:
        raise ValueError(
            f"{path}: must hold videos or the images of one video; it holds"
            f" {counted(len(videos), 'video')} ({videos[0]} …) and {counted(len(images), 'image')}"
            f" ({images[0]} …). Name the videos one by"
            " one, or move the images elsewhere"
        )
    if not videos and not images:
        raise ValueError(
            f"{path}: holds no video ({', '.join(VIDEO_SUFFIXES)}) and no image"
            f" ({', '.join(IMAGE_SUFFIXES)}); folders in it are not looked into"
        )
    return [_in_utf8(path / name) for name in videos] if videos else [path]


def _in_utf8(path: Path) -> Path:
    """Return a path. Raises ValueError if tables could not hold it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{str(path)!a}: must have a name in UTF-8; rename it") from None
    return path
