"""Videos that tests make: small, with pictures that move."""

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
H264 = {"bf": "2", "g": "12", "sc_threshold": "0"}
OPEN_H265 = {"x265-params": "log-level=0:keyint=12:bframes=3:open-gop=1"}
# File name, codec and its options: what is stored in another order than shown, and what is not.
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "h264.mp4": ("libx264", H264),
    "h265.mp4": ("libx265", OPEN_H265),
    "h264.mov": ("libx264", {"bf": "0", "g": "7", "sc_threshold": "0"}),
    "h265.mkv": ("libx265", OPEN_H265),
    "h264.ts": ("libx264", H264),
    "xvid.avi": ("mpeg4", {"bf": "2", "g": "12"}),
    "h264.avi": ("libx264", H264),
    "raw.h264": ("libx264", H264),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "cpu-used": "8"}),
    "jpeg.avi": ("mjpeg", {"qscale": "3"}),
}


def pictures(count: int, width: int = 96, height: int = 64) -> Iterator[Image]:
    """Yield RGB pictures, blocks of chance that move by a few pixels each."""
    generator = np.random.default_rng(width * height)
    blocks = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    whole = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    for number in range(count):
        yield np.roll(whole, (number, 2 * number), (0, 1))


def make(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] = H264,
    count: int = 40,
    *,
    size: tuple[int, int] = (96, 64),
    times: Sequence[float] | None = None,
    container_options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Write a video of `count` pictures, 25 a second or at `times`; return its path."""
    ticks = 25 if times is None else 1000
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.options = options
        stream.codec_context.thread_count = 1  # the same bytes every time
        stream.codec_context.time_base = Fraction(1, ticks)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, picture in enumerate(pictures(count, *size)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = number if times is None else round(times[number] * ticks)
            frame.time_base = Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_kind(folder: Path, name: str, count: int = 40) -> Path:
    """Write a video of one of the KINDS."""
    return make(folder / name, *KINDS[name], count)


def seen_by_opencv(path: Path) -> tuple[list[Image], list[float]]:
    """Return the frames of a video as OpenCV's own FFmpeg reads them, and their times."""
    capture = cv2.VideoCapture(str(path))
    images: list[Image] = []
    times: list[float] = []
    while True:
        there, image = capture.read()
        if not there:
            return images, times
        images.append(image[..., ::-1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)


def patch(path: Path, box: bytes, offset: int, fmt: str, *values: int) -> None:
    """Overwrite numbers of an MP4 file, `offset` bytes behind the name of a box."""
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, data.index(box) + 4 + offset, *values)
    path.write_bytes(data)
