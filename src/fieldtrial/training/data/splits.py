"""Stratified splits and samples: every class is on both sides of a split, and in every sample."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

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
    # scikit-learn's own seeding stops at 32 bits
    random = np.random.RandomState(np.random.MT19937(seed))
    counts = np.bincount(labels, minlength=len(class_names))
    try:
        kept, cut = train_test_split(
            np.arange(len(labels)),
            test_size=fraction,
            stratify=labels,
            shuffle=True,
            random_state=random,
        )
        fewest = np.minimum(
            *(np.bincount(labels[side], minlength=len(class_names)) for side in (kept, cut))
        )
    except ValueError:  # one side has fewer places than there are classes
        fewest = np.floor(counts * min(fraction, 1 - fraction)).astype(np.int64)
    if not fewest.all():
        lacking = [f"{class_names[i]!r} ({counts[i]} images)" for i in np.flatnonzero(fewest == 0)]
        raise ValueError(
            f"a split of {fraction:g} leaves one side without an image of {first_of(lacking)}"
        )
    return np.sort(kept), np.sort(cut)


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
