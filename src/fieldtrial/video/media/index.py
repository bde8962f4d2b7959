"""Which frames a video has, and when each is shown: known without decoding them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial.video.media.decoding import containers, losses
from fieldtrial.video.media.decoding.pixels import UPRIGHT, Orientation, orientation, upright_size
from fieldtrial.video.media.decoding.scan import (
    DEFAULT_RATE,
    UNKNOWN,
    Scan,
    missing,
    presentation_times,
    scan,
)
from fieldtrial.video.media.images import find_images


@dataclass(frozen=True, eq=False)
class Packets:
    """The packets of a file in the order in which they lie there, which is that of decoding.

    Attributes:
        times: int64 (n,), presentation times in the file's ticks, as FFmpeg gives them.
        sizes: int64 (n,), in bytes.
        numbers: int64 (n,), of the frames; -1 if a packet has none that is shown.
        keys: bool (n,), whether decoding can begin there.
    """

    times: NDArray[np.int64]
    sizes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    keys: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, kw_only=True)
class VideoIndex:
    """What is known of a video without decoding more than a frame.

    Attributes:
        path: the file, or the folder of images.
        size_bytes: of the file; 0 for a folder.
        width, height: of the upright frames in square pixels.
        orientation: how frames are turned to be upright.
        rate: frames per second, on average.
        times: float64 (n,), rising: when each frame is shown, in seconds since the first.
        broken: bool (n,), frames that are skipped, because what they are decoded from is damaged
            or missing.
        lost: how many frames the file once had, and lacks.
        missing_seconds: how much of the end is missing, by what the file says of its length.
        silent: whether a packet may yield no frame without being damaged.
        packets: None for a folder.
        names: the folder's images, in order.
    """

    path: Path
    size_bytes: int = 0
    width: int
    height: int
    orientation: Orientation = UPRIGHT
    rate: float
    times: NDArray[np.float64]
    broken: NDArray[np.bool_]
    lost: int = 0
    missing_seconds: float = 0.0
    silent: bool = False
    packets: Packets | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def duration(self) -> float:
        """How long the video is, in seconds; the last frame is shown as long as the average."""
        return float(self.times[-1]) + 1 / self.rate

    @property
    def key_frames(self) -> NDArray[np.int64]:
        """int64 (k,), rising, numbers of frames where decoding can begin; the first is 0."""
        if self.packets is None:
            return np.arange(len(self), dtype=np.int64)
        numbers = self.packets.numbers[self.packets.keys]
        return np.union1d([0], numbers[numbers >= 0]).astype(np.int64)


def index_video(path: Path, rate: float = DEFAULT_RATE) -> VideoIndex:
    """Return the index of a video: a file, or a folder of images, which is seen as a video.

    The packets of a file are read and not decoded, apart from the first frame. A file without
    presentation times is decoded, because nothing else says in which order its frames are shown.

    rate: frames per second of a folder.

    Raises:
        ValueError: it is no video, or has no frame that can be decoded; the message says why.
    """
    if path.is_dir():
        names, (width, height) = find_images(path)
        return VideoIndex(
            path=path,
            width=width,
            height=height,
            rate=rate,
            times=np.arange(len(names)) / rate,
            broken=np.zeros(len(names), bool),
            names=names,
        )
    container, stream = containers.open_file(path)
    with container:
        found = scan(container, stream)
    if found is None:
        raise ValueError(f"{path}: has no frame")
    return _index_file(path, found)


def _index_file(path: Path, found: Scan) -> VideoIndex:
    frame, order = _decode(path, found)
    presentation = presentation_times(found, order)
    shown = np.flatnonzero(presentation != UNKNOWN)
    if not len(shown):
        raise ValueError(f"{path}: has no frame that is shown; its edit list leaves all out")
    shown = shown[np.argsort(presentation[shown], kind="stable")]
    numbers, ranks = np.full(len(presentation), -1, np.int64), np.arange(len(shown))
    numbers[shown] = ranks
    # Where a file gives two frames one time, the second is shown a tick later.
    ticks = np.maximum.accumulate(presentation[shown] - ranks) + ranks
    times = np.round((ticks - ticks[0]) * found.tick, 9)
    rate = float((len(times) - 1) / times[-1]) if times[-1] > 0 else found.rate
    gaps = missing(found, ticks)
    missing_seconds = found.declared - float(times[-1]) - 1 / rate
    width, height = upright_size(frame, found.aspect)
    return VideoIndex(
        path=path,
        size_bytes=path.stat().st_size,
        width=width,
        height=height,
        orientation=orientation(frame),
        rate=rate,
        times=times,
        broken=losses.broken_frames(numbers, found.keys, found.corrupt, gaps),
        lost=sum(gap.frames for gap in gaps),
        # Less than two frames may be rounding.
        missing_seconds=missing_seconds if missing_seconds > 2 / rate else 0.0,
        silent=found.codec == "mpeg4" or bool(frame.interlaced_frame),
        packets=Packets(found.times, found.sizes, numbers, found.keys),
    )


def _decode(path: Path, found: Scan) -> tuple[Any, list[int] | None]:
    """Return the first frame that can be decoded.

    Where the order of frames is in doubt, return the packets in the order in which their frames are
    shown, too.
    """
    frame, order = None, dict[int, None]()
    container, stream = containers.open_file(path)
    with container:
        for packet in _placed(container, stream, found.first):
            frames, _ = containers.decoded(stream.codec_context, packet)
            order |= {one.pts: None for one in frames if one.pts is not None}
            if frame is None and frames:
                frame = frames[0]
                containers.require_pixels(frame.width, frame.height, str(path))
            if frame is not None and not found.in_doubt:
                return frame, None
    if frame is None:
        raise ValueError(
            f"{path}: has no frame that can be decoded; it has {len(found.times)} packets of the"
            f" codec {found.codec}"
        )
    return frame, list(order)


def _placed(container: Any, stream: Any, first: int) -> Iterator[Any]:
    """Yield the packets from `first` on, which get their places as times, and None at the end."""
    for place, packet in enumerate(containers.packets(container, stream)):
        if place >= first:
            packet.pts, packet.dts = place, None
            yield packet
    yield None
