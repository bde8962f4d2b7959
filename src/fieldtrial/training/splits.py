"""Stratified cuts: every class is on both sides, in the proportion it has in the whole."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

Indices = NDArray[np.int64]


def stratified_cut(
    labels: Indices, class_names: tuple[str, ...], fraction: float, seed: int
) -> tuple[Indices, Indices]:
    """Return the positions in `labels` that stay and those that are cut off (`fraction` of all), both ascending.

    Equal arguments give equal cuts; `seed` is any whole number from 0.

    Raises:
        ValueError: a class would have no image on one of the sides; the message names such classes.
    """
    random = np.random.RandomState(np.random.MT19937(seed))  # sklearn's own seeding stops at 32 bits
    counts = np.bincount(labels, minlength=len(class_names))
    try:
        kept, cut = train_test_split(
            np.arange(len(labels)), test_size=fraction, stratify=labels, shuffle=True, random_state=random
        )
        fewest = np.minimum(*(np.bincount(labels[side], minlength=len(class_names)) for side in (kept, cut)))
    except ValueError:  # one side has fewer places than there are classes
        fewest = np.floor(counts * min(fraction, 1 - fraction)).astype(np.int64)
    if not fewest.all():
        lacking = ", ".join(f"{class_names[i]!r} ({counts[i]} images)" for i in np.flatnonzero(fewest == 0)[:10])
        raise ValueError(f"a cut of {fraction:g} leaves one side without an image of {lacking}")
    return np.sort(kept), np.sort(cut)
