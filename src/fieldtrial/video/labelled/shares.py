"""Shares with intervals: how many of the boxes in some frames, or of the crossings, were right."""

import math
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


class Share(TypedDict):
    """So many of so many, as a share with its 95 % interval.

    share is None of none; low and high are None where there is too little to tell.
    """

    hits: int
    of: int
    share: float | None
    low: float | None
    high: float | None


def share_of_boxes(
    hits: NDArray[np.bool_], frames: NDArray[np.int64], vehicles: NDArray[np.int64]
) -> Share:
    """Return the share of boxes that are hits, for new frames of the same place.

    Boxes are not independent: one frame is dark, one vehicle is hard to see in all of its frames.
    The variance of the share is that of a ratio, with clusters of both kinds: A. C. Cameron, J. B.
    Gelbach and D. L. Miller, "Robust Inference with Multiway Clustering", Journal of Business &
    Economic Statistics 29, 2011; here it is never less than with the clusters of one kind, or
    without. The interval is E. B. Wilson's (Journal of the American Statistical Association 22,
    1927) with the number of independent boxes that would give that variance, as E. L. Korn and
    B. I. Graubard have it for surveys (Survey Methodology 24, 1998), and with Student's t for the
    fewer of frames and vehicles. Where all or none are hits, that number is the fewer of these.

    Args:
        hits: (n,). frames, vehicles: (n,), numbers of the frame and of the vehicle of each box.
    """
    count, found = len(hits), int(hits.sum())
    if not count:
        return Share(hits=0, of=0, share=None, low=None, high=None)
    mean = found / count
    clusters = min(len(np.unique(frames)), len(np.unique(vehicles)))
    if clusters < 2:
        return Share(hits=found, of=count, share=mean, low=None, high=None)
    if found in (0, count):
        independent = float(clusters)
    else:
        own, residuals = np.arange(count), hits.astype(np.float64) - mean
        by_frame, by_vehicle, by_box = (
            clustered_variance(residuals, groups) for groups in (frames, vehicles, own)
        )
        variance = max(by_frame + by_vehicle - by_box, by_frame, by_vehicle, by_box)
        independent = mean * (1 - mean) / variance
    low, high = _wilson(mean, independent, clusters - 1)
    return Share(hits=found, of=count, share=mean, low=low, high=high)


def share_of_trials(hits: int, of: int) -> Share:
    """Return the share of independent trials that are hits, with the exact interval of C. J.
    Clopper and E. S. Pearson (Biometrika 26, 1934).
    """
    from scipy.stats import binomtest  # late: half a second

    if not of:
        return Share(hits=0, of=0, share=None, low=None, high=None)
    ends = binomtest(hits, of).proportion_ci(CONFIDENCE, method="exact")
    return Share(hits=hits, of=of, share=hits / of, low=float(ends.low), high=float(ends.high))


def clustered_variance(residuals: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """Return the variance of a mean of values that go together within groups.

    residuals: (n,), the values less their mean. groups: (n,), the number of each one's group.
    """
    _, places = np.unique(groups, return_inverse=True)
    sums = np.bincount(places, residuals)
    number = len(sums)
    return float((sums**2).sum() * number / (number - 1) / len(residuals) ** 2)


def _wilson(mean: float, count: float, freedom: int) -> tuple[float, float]:
    from scipy.special import stdtrit  # late

    quantile = float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    share = quantile**2 / count
    middle = (mean + share / 2) / (1 + share)
    half = math.sqrt(share * (mean * (1 - mean) + share / 4)) / (1 + share)
    return max(0.0, middle - half), min(1.0, middle + half)
