"""Videos are cut into segments at key frames, where decoding can begin."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def cut(
    times: NDArray[np.float64], key_frames: NDArray[np.int64], seconds: float
) -> list[tuple[int, int]]:
    """Return the segments of a video: (first, last) numbers of frames, without the last.

    Together they are all frames, in order. Each begins at a key frame, and is about `seconds` long
    or, where key frames are rare, longer. The end of a video is cut from the segment before only if
    half of `seconds` is left.

    times: float64 (frames,), rising, in seconds. key_frames: int64 (k,), of which the first is 0.
    """
    starts = [0]
    for number in map(int, key_frames):
        is_long = times[number] - times[starts[-1]] >= seconds
        if is_long and times[-1] - times[number] >= seconds / 2:
            starts.append(number)
    return list(zip(starts, [*starts[1:], len(times)], strict=True))


def count(first: int, last: int, stride: int) -> int:
    """Return how many frames of a segment are looked at: those whose number `stride` divides."""
    return max(0, -(-last // stride) + -first // stride)


def lead(times: NDArray[np.float64], first: int, seconds: float) -> int:
    """Return the first frame that is at most `seconds` before the frame `first`."""
    return int(np.searchsorted(times, times[first] - seconds))


def skipped_seconds(
    times: NDArray[np.float64], stretches: Sequence[tuple[int, int]], end: float
) -> list[tuple[float, float, int]]:
    """Return first and last second, and the number of frames, of stretches of frames.

    end: of the video, in seconds.
    """
    return [
        (
            float(times[first]),
            float(times[last]) if last < len(times) else end,
            last - first,
        )
        for first, last in stretches
    ]
