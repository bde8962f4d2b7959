"""Packets that are missing from a file, and the frames that cannot be right without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.02  # of an interval, or a tick: times are rounded
RARE = 0.01  # the share of frames before gaps above which they are of the camera's making, or
FEW_GAPS = 2  # as many
ONE_GAP = 16  # frames: so far from each other, frames that were lost at once may be shown
FEWEST = 10  # frames, to tell a rate
HEADER = 8  # bytes before the data of a chunk of AVI


@dataclass(frozen=True)
class Gap:
    """Frames are missing: how many, and how many frames that are there come before them."""

    before: int
    frames: int


def gaps(ticks: NDArray[np.int64]) -> list[Gap]:
    """Return where frames are missing, by the rising times of those that are there.

    Only a video of constant rate shows it: intervals of several frames, and rarely. In others, any
    interval may be right.
    """
    if len(ticks) < FEWEST:
        return []
    intervals = np.diff(ticks)
    usual = float(np.median(intervals))
    if usual <= 0:
        return []
    steps = np.round(intervals / usual)
    constant = np.abs(intervals - steps * usual) <= np.maximum(1, TOLERANCE * usual) * steps
    wide = np.flatnonzero(steps > 1)
    if not constant.all() or (steps < 1).any():
        return []
    if np.count_nonzero(np.diff(wide, prepend=-ONE_GAP) >= ONE_GAP) > max(
        FEW_GAPS, RARE * len(steps)
    ):
        return []
    return [Gap(int(place) + 1, int(steps[place]) - 1) for place in wide]


def index_places(stream: Any) -> dict[int, int]:
    """Return the times of the frames that the index at the end of an AVI file has, by the place of
    their data. Frames of no bytes are left out: they say that the frame before is shown longer.
    """
    return {entry.pos + HEADER: entry.timestamp for entry in stream.index_entries if entry.size}


def shifts(
    decode_times: NDArray[np.int64], positions: NDArray[np.int64], places: Mapping[int, int]
) -> NDArray[np.int64]:
    """Return by how much packets at `positions` are later than FFmpeg says: int64 (n,).

    It counts packets, so a packet that it does not find makes all that follow come earlier.
    """
    shifts, shift = np.zeros_like(decode_times), 0
    for row, position in enumerate(positions):
        shift = places.get(int(position), decode_times[row] + shift) - decode_times[row]
        shifts[row] = shift
    return shifts


def missing_places(
    ticks: NDArray[np.int64], places: Mapping[int, int], positions: NDArray[np.int64]
) -> list[Gap]:
    """Return where frames are missing that the index of an AVI file has."""
    there = {int(position) for position in positions}
    lost = [time for place, time in places.items() if place not in there]
    before, counts = np.unique(np.searchsorted(ticks, lost), return_counts=True)
    return [Gap(int(b), int(n)) for b, n in zip(before, counts, strict=True)]


def broken_frames(
    numbers: NDArray[np.int64],
    keys: NDArray[np.bool_],
    corrupt: NDArray[np.bool_],
    gaps: Sequence[Gap],
) -> NDArray[np.bool_]:
    """Return which frames are decoded from packets that are damaged or missing: bool (frames,).

    They go as far as the next key frame. numbers, keys and corrupt are of packets, in the order of
    decoding.
    """
    count = int(numbers.max()) + 1
    broken = np.zeros(count, bool)
    starts = np.flatnonzero(keys & (numbers >= 0))
    for row in np.flatnonzero(corrupt):
        later = starts[starts > row]
        end, until = (later[0], numbers[later[0]]) if len(later) else (len(numbers), count)
        broken[numbers[row:end][numbers[row:end] >= 0]] = True
        # Frames that are shown before that key frame and decoded after it need those before it.
        behind = numbers[end:]
        broken[behind[(behind >= 0) & (behind < until)]] = True
    # How much later than others that are shown after it a frame is decoded.
    depth = int((np.maximum.accumulate(numbers) - numbers)[numbers >= 0].max(initial=0))
    key_numbers = np.sort(numbers[starts])
    for gap in gaps:
        later = key_numbers[key_numbers >= gap.before]
        earlier = key_numbers[key_numbers < gap.before]
        # The one before may be damaged, too.
        begin = max(gap.before - max(depth, 1), int(earlier[-1]) + 1 if len(earlier) else 0)
        broken[begin : int(later[0]) if len(later) else count] = True
    return broken
