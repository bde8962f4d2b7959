"""Counts in labelled frames and of lines, compared with those by hand."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from fieldtrial.video.labelled.boxes import Compared
from fieldtrial.video.labelled.labels import Labels
from fieldtrial.video.labelled.shares import CONFIDENCE, Share, share_of_trials
from fieldtrial.video.moments import Crossing
from fieldtrial.video.summary import Direction

SAME_TIME = 1.0  # seconds between a crossing and the one that was seen by hand, at most


class FrameCount(TypedDict):
    """Vehicles in a frame: those with a track minus the labelled ones.

    error: on average; low and high: ends of its 95 % interval (Student's t over frames), None with
    one frame. absolute: the mean without signs.
    """

    error: float
    low: float | None
    high: float | None
    absolute: float


class LineCount(TypedDict):
    """The count of a line and direction against that by hand, from `first` to `last` second.

    ratio: counted / by_hand; low and high: see `ratio_interval`. found, right: with times by hand,
    how many of the crossings by hand were counted, and how many that were counted are some by hand;
    within a second.
    """

    line: str
    direction: Direction
    first: float
    last: float | None
    by_hand: int
    counted: int
    ratio: float | None
    low: float | None
    high: float | None
    found: Share | None
    right: Share | None


def per_frame(compared: Compared, frames: Sequence[int]) -> FrameCount | None:
    """Return how far the number of vehicles in a frame is off; None without labelled frames."""
    from scipy.special import stdtrit  # late

    if not frames:
        return None
    counted = Counter(one.frame for one in compared.detections)
    counted.subtract(one.frame for one in compared.labels)
    errors = np.array([counted[frame] for frame in frames], np.float64)
    mean, count = float(errors.mean()), len(errors)
    half = None
    if count > 1:
        quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
        half = quantile * float(errors.std(ddof=1)) / math.sqrt(count)
    return FrameCount(
        error=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        absolute=float(np.abs(errors).mean()),
    )


def line_count(
    labels: Labels,
    line: str,
    direction: Direction,
    by_hand: int | list[float],
    crossings: Sequence[Crossing],
) -> LineCount:
    """Return how the count of a line and direction agrees with that by hand."""
    first, last = labels.counted or (0.0, math.inf)
    times = sorted(
        one.time
        for one in crossings
        if (one.line, one.direction) == (line, direction) and first <= one.time <= last
    )
    seen = sorted(by_hand) if isinstance(by_hand, list) else None
    number = by_hand if isinstance(by_hand, int) else len(by_hand)
    both = None if seen is None else paired(times, seen)
    low, high = ratio_interval(len(times), number)
    return LineCount(
        line=line,
        direction=direction,
        first=first,
        last=None if math.isinf(last) else last,
        by_hand=number,
        counted=len(times),
        ratio=len(times) / number if number else None,
        low=low,
        high=high,
        found=None if both is None else share_of_trials(both, number),
        right=None if both is None else share_of_trials(both, len(times)),
    )


def paired(times: Sequence[float], by_hand: Sequence[float]) -> int:
    """Return how many of two rising lists of times can be paired, each with one that is near.

    Pairing the earliest with the earliest that is near leaves the most to the rest.
    """
    pairs = place = 0
    for time in times:
        while place < len(by_hand) and by_hand[place] < time - SAME_TIME:
            place += 1
        if place < len(by_hand) and by_hand[place] <= time + SAME_TIME:
            pairs, place = pairs + 1, place + 1
    return pairs


def ratio_interval(counted: int, by_hand: int) -> tuple[float | None, float | None]:
    """Return the ends of a 95 % interval for the mean ratio of such counts to those by hand.

    F. Garwood's interval for a Poisson count (Biometrika 28, 1936). What is counted is a share of
    the vehicles by hand and some false ones, each by itself; that varies less than a Poisson count
    of the same mean, so the interval is rather too wide. The count by hand is taken as true.
    """
    from scipy.special import chdtri  # late

    if not by_hand:
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low = float(chdtri(2 * counted, 1 - tail)) / 2 if counted else 0.0
    return low / by_hand, float(chdtri(2 * counted + 2, tail)) / 2 / by_hand
