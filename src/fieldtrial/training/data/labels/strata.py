"""Strata: what images with many labels, or with a number, are cut by as if these were classes."""

import numpy as np
from numpy.typing import NDArray

from fieldtrial.training.data.splits import Indices

BINS = 10  # of numbers


def by_rarest_label(values: NDArray[np.uint8]) -> Indices:
    """Return a stratum for each image, int64 (n,): its rarest label, or that it has none.

    Iterative stratification (K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the Stratification of
    Multi-Label Data", ECML PKDD 2011) shares out the images of the rarest label first, because
    later ones cannot make up for it. Here that label alone decides, so that images that are added
    move few others.

    values: (n, labels), 1 where an image has a label.
    """
    counts = values.sum(0, dtype=np.int64)
    cost = np.where(values > 0, counts, len(values) + 1)
    strata: Indices = np.where(values.any(1), cost.argmin(1), values.shape[1]).astype(np.int64)
    return strata


def by_quantile(values: NDArray[np.float64]) -> Indices:
    """Return a stratum for each image, int64 (n,): which tenth of the numbers its own is in.

    values: (n,). Equal numbers are in one stratum.
    """
    inner = np.quantile(values, np.arange(1, BINS) / BINS)
    return np.searchsorted(inner, values, side="left").astype(np.int64)


def joined(strata: Indices, fraction: float) -> Indices:
    """Return the strata, numbered from 0, so that a `fraction` of each is an image or more.

    So is the rest of each. Strata that are too small for that are joined into one; if that is too
    small as well, it joins the largest stratum.
    """
    _, numbered, counts = np.unique(strata, return_inverse=True, return_counts=True)
    share = min(fraction, 1 - fraction)
    is_small = share * counts < 1
    rest = int(counts[is_small].sum())
    home = len(counts) if share * rest >= 1 else int(counts.argmax())
    found = np.where(is_small[numbered], home, numbered)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def classes_to_cut(
    labels: Indices, class_names: tuple[str, ...], strata: Indices | None, fraction: float
) -> tuple[Indices, tuple[str, ...]]:
    """Return what images are cut by, int64 (n,) from 0 on, and a name for each of its values.

    These are their classes; where they have strata, these, joined where they are too small.
    """
    if strata is None:
        return labels, class_names
    found = joined(strata, fraction)
    return found, ("any image",) * (int(found.max(initial=0)) + 1)
