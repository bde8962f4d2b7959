"""Files with video in them: opening them, and the packets in them."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av import FFmpegError
from av.stream import Disposition

MOST_PIXELS = 1 << 26  # of a frame: twice those of 7680 × 4320
# Of a file that somebody else has made. The formats that are left out name other files, or
# addresses, which FFmpeg would open: playlists, lists of files, devices.
FILE_FORMATS = (
    "3gp",
    "asf",
    "avi",
    "dhav",
    "dv",
    "flv",
    "h264",
    "hevc",
    "ivf",
    "m4v",
    "matroska",
    "mjpeg",
    "mov",
    "mp4",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "ogg",
    "webm",
)
MOST_ERRORS = 1000  # one after the other, without a packet in between
# FFmpeg's own choice is as many threads as cores. More than four wait for each other.
THREADS = min(4, len(os.sched_getaffinity(0)))


def open_file(path: Path) -> tuple[Any, Any]:
    """Open a file's container; return it, and the stream of its video.

    Raises ValueError, which says what is wrong: no file, no video, pictures of no codec that is
    known or with more than `MOST_PIXELS` pixels.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise ValueError(f"{path}: must be a file or a folder")
        container = av.open(
            str(path.absolute()),  # FFmpeg would take a name such as a:b.mp4 for an address
            options={
                "protocol_whitelist": "file",
                "format_whitelist": ",".join(FILE_FORMATS),
            },
            metadata_errors="ignore",
        )
    except FileNotFoundError:
        raise ValueError(f"{path}: does not exist") from None
    except FFmpegError as error:
        raise ValueError(f"{path}: {_why_unknown(path, about.st_size, error)}") from None
    try:
        return container, video_stream(container, str(path))
    except ValueError:
        container.close()
        raise


def _why_unknown(path: Path, size: int, error: Exception) -> str:
    """Return why a file cannot be opened, in words."""
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
        return "must be readable by you"
    if size == 0:
        return "is empty"
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return (
            "begins as an MP4 file does, and its table of frames (moov) is missing: the recording"
            " was not finished, or only a part of the file was copied"
        )
    return (
        "must be a video (MP4, MOV, AVI, MKV, WebM, MPEG-TS, FLV, WMV and the like); "
        f"FFmpeg finds none in it ({getattr(error, 'strerror', None) or error})"
    )


def video_stream(container: Any, name: str) -> Any:
    """Return the stream that is shown: the first that is no cover picture."""
    streams = [
        stream
        for stream in container.streams.video
        if Disposition.attached_pic not in stream.disposition
    ]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise ValueError(f"{name}: has no video; it has {', '.join(kinds) or 'nothing'}")
    stream = streams[0]
    if stream.codec_context is None:
        raise ValueError(f"{name}: its codec cannot be decoded by the FFmpeg that PyAV has")
    require_pixels(stream.codec_context.width, stream.codec_context.height, name)
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = THREADS
    return stream


def require_pixels(width: int, height: int, where: str) -> None:
    """Raise ValueError for frames that are too large to be decoded."""
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{where}: frames of {width}×{height} pixels; there must be at most"
            f" {MOST_PIXELS:,} pixels, as in 8192×8192"
        )


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream that have data. What cannot be read is skipped."""
    errors = 0
    while errors < MOST_ERRORS:
        try:
            for packet in container.demux(stream):
                if packet.size:  # in AVI an empty one says that the frame before is shown longer
                    errors = 0
                    yield packet
            return
        except av.EOFError:
            return
        except FFmpegError:
            errors += 1  # the next call goes on behind it


def decoded(decoder: Any, packet: Any | None) -> tuple[list[Any], bool]:
    """Return the frames that a decoder has after `packet`, None at the end; and whether it failed.

    The end is asked for until nothing comes.
    """
    try:
        return decoder.decode(packet), False
    except av.EOFError:
        return [], False
    except FFmpegError:
        return [], True
