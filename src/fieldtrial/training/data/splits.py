"""Stratified splits and samples: every class is on both sides of a split, and in every sample."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
NAMED_CLASSES = 10  # in one message


def first_of(names: Sequence[str], most: int = NAMED_CLASSES) -> str:
    """Return the first `most` names, and how many more there are, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def stratified_cut(
    labels: Indices, class_names: tuple[str, ...], fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Return the positions in `labels` that stay and those split off, `fraction` of all, ascending.

    Equal arguments give equal splits; `seed` is any whole number from 0.

    Raises:
        ValueError: a class would have no image on one side; the message names such classes.
    """
    random = np.random.RandomState(np.random.MT19937(seed))
    counts = np.bincount(labels, minlength=len(class_names))
    cut_places = math.ceil(fraction * len(labels))
    places = (len(labels) - cut_places, cut_places)
    if min(places) < np.count_nonzero(counts) or 1 in counts:
        fewest = np.floor(counts * min(fraction, 1 - fraction)).astype(np.int64)
    else:
        kept_counts = _shares(counts, places[0], random)
        fewest = np.minimum(kept_counts, _shares(counts - kept_counts, places[1], random))
    if not fewest.all():
        lacking = [f"{class_names[i]!r} ({counts[i]} images)" for i in np.flatnonzero(fewest == 0)]
        raise ValueError(
            f"a split of {fraction:g} leaves one side without an image of {first_of(lacking)}"
        )
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    drawn = [random.permutation(positions) for positions in classes]
    kept = [own[:many] for own, many in zip(drawn, kept_counts, strict=True)]
    cut = [own[many:] for own, many in zip(drawn, kept_counts, strict=True)]
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(cut))


def _shares(counts: Indices, places: int, random: np.random.RandomState) -> Indices:
    """Return how many of `places` each class gets, in proportion to `counts`; ties are drawn.

    With `stratified_cut`, it draws what scikit-learn's train_test_split draws. To import that
    would take two seconds of every worker's start.
    """
    exact = counts / counts.sum() * places
    shares = np.floor(exact)
    rest, missing = exact - shares, int(places - shares.sum())
    for value in np.unique(rest)[::-1]:
        if not missing:
            break
        (equal,) = np.nonzero(rest == value)
        more = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[more] += 1
        missing -= len(more)
    whole: Indices = shares.astype(np.int64)
    return whole


def stratified_sample(
    labels: Indices, class_names: tuple[str, ...], fraction: float, most: int | None, seed: int
) -> Indices:
    """Return the ascending positions in `labels` of a sample: `fraction` of each class, to `most`.

    They are drawn by `seed`, any whole number from 0. A smaller sample is part of a larger one of
    the same seed.

    Raises:
        ValueError: a class would have no image, or fewer than `most`; the message names such
            classes with their counts.
    """
    random = np.random.Generator(np.random.MT19937(seed))
    positions = [
        random.permutation(np.flatnonzero(labels == number)) for number in range(len(class_names))
    ]
    shares = [chosen[: round(fraction * len(chosen))] for chosen in positions]
    lacking = [
        f"{name!r} ({len(share)} of {len(chosen)} images)"
        for name, share, chosen in zip(class_names, shares, positions, strict=True)
        if len(share) < (most or 1)
    ]
    if lacking:
        raise ValueError(f"too few training images of {first_of(lacking)}")
    return np.sort(np.concatenate([share[:most] for share in shares]))
