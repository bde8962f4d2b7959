"""The packets of a file: when their frames are shown, and what is wrong with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial.video.media.decoding import containers, losses

UNKNOWN = -(1 << 62)  # a time that the file does not give
DEFAULT_RATE = 25.0  # frames/s, where nothing says it
# Formats without presentation times. FFmpeg makes them up; where these codecs store frames in
# another order than they are shown, it is mistaken.
WITHOUT_TIMES = {"avi": ("h264", "hevc")}
WITH_LENGTH = ("mov", "avi", "matroska")  # formats; for others FFmpeg guesses it


@dataclass(frozen=True, eq=False)
class Scan:
    """The packets of a file, in their order; n of them, times in the file's ticks.

    Attributes:
        times: int64 (n,), presentation times, UNKNOWN where there is none.
        decode_times: int64 (n,), the same of decoding.
        sizes: int64 (n,), in bytes.
        positions: int64 (n,), of the data in the file.
        keys: bool (n,), whether decoding can begin there.
        shown: bool (n,), whether the frame is shown: an edit list may leave frames out.
        corrupt: bool (n,), whether the data are damaged, as the format shows.
        places: the times of frames by their positions, of an index at the end of the file.
        complete: whether the file has a table of all frames, so that none can be missing.
        in_doubt: whether only decoding tells the order in which frames are shown.
        tick: in seconds.
        rate: frames per second, by what the file says.
        codec: its name.
        aspect: the width of a pixel over its height, None if it is not said.
        declared: the length of the video by what the file says, in seconds; 0 if it does not.
    """

    times: NDArray[np.int64]
    decode_times: NDArray[np.int64]
    sizes: NDArray[np.int64]
    positions: NDArray[np.int64]
    keys: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    corrupt: NDArray[np.bool_]
    places: dict[int, int]
    complete: bool
    in_doubt: bool
    tick: float
    rate: float
    codec: str
    aspect: Fraction | None
    declared: float

    @property
    def first(self) -> int:
        """The place of the first packet that can be decoded."""
        return int(self.keys.argmax())


def scan(container: Any, stream: Any) -> Scan | None:
    """Read a file's packets without decoding them; return None if there is none."""
    format_name, codec = container.format.name, stream.codec_context.name
    # Reading adds to the index what it finds.
    places = losses.index_places(stream) if format_name == "avi" else {}
    rows = list(_rows(container, stream))
    if not rows:
        return None
    table = np.array(rows, np.int64)
    times, positions, flags = table[:, 0], table[:, 3], table[:, 4:].astype(bool)
    declared = 0.0
    if any(name in format_name for name in WITH_LENGTH):
        declared = (stream.duration or 0) * float(stream.time_base)
        if not declared and len(container.streams) == 1:  # else it may be that of the sound
            declared = (container.duration or 0) / 1e6
    return Scan(
        times=times,
        decode_times=table[:, 1],
        sizes=table[:, 2],
        positions=positions,
        keys=flags[:, 0] if flags[:, 0].any() else np.arange(len(rows)) == 0,
        shown=~flags[:, 1],
        corrupt=flags[:, 2],
        places=places if places.keys() & set(positions.tolist()) else {},
        complete="mov" in format_name,
        in_doubt=bool((times == UNKNOWN).any()) or codec in WITHOUT_TIMES.get(format_name, ()),
        tick=float(stream.time_base),
        rate=float(stream.guessed_rate or stream.average_rate or DEFAULT_RATE),
        codec=codec,
        aspect=stream.sample_aspect_ratio,
        declared=declared,
    )


def _rows(container: Any, stream: Any) -> Iterator[tuple[int, ...]]:
    for packet in containers.packets(container, stream):
        yield (
            UNKNOWN if packet.pts is None else packet.pts,
            UNKNOWN if packet.dts is None else packet.dts,
            packet.size,
            -1 if packet.pos is None else packet.pos,
            packet.is_keyframe,
            packet.is_discard,
            packet.is_corrupt,
        )


def presentation_times(scan: Scan, order: Sequence[int] | None) -> NDArray[np.int64]:
    """Return when the frames of packets are shown, in ticks: int64 (n,), UNKNOWN if never.

    order: the packets in the order in which their frames are shown, if it had to be found by
        decoding.
    """
    shifts = losses.shifts(scan.decode_times, scan.positions, scan.places)
    if order is None:
        times = scan.times + shifts
        # What is shown before the first key frame needs frames that are not there.
        shown = scan.shown & (np.arange(len(times)) >= scan.first) & (times >= times[scan.first])
        return np.where(shown, times, UNKNOWN)
    # The times of decoding are times of frames, in their order.
    ticks = np.sort((scan.decode_times + shifts)[list(order)])
    if ticks[0] == UNKNOWN or len(np.unique(ticks)) < len(ticks):
        ticks = np.round(np.arange(len(order)) / (scan.rate * scan.tick)).astype(np.int64)
    times = np.full(len(scan.times), UNKNOWN)
    times[list(order)] = ticks
    return times


def missing(scan: Scan, ticks: NDArray[np.int64]) -> list[losses.Gap]:
    """Return where frames are missing, between frames that are shown at the rising `ticks`."""
    if scan.places:
        return losses.missing_places(ticks, scan.places, scan.positions)
    return [] if scan.complete or scan.in_doubt else losses.gaps(ticks)
