"""Stratified splits and samples: every class is on both sides of a split, and in every sample.

Images that may be joined by others later are cut by what they contain, those of data sets that are
always the same by their positions.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fieldtrial.fields.printable import counted

Indices = NDArray[np.int64]
NAMED_CLASSES = 10  # in one message
# From so many images of a class on, each image's own number decides: chance then nearly keeps the
# share.
MANY = 50


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
        raise _lacking_error(fraction, np.flatnonzero(fewest == 0), class_names, counts)
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


def cut_by_numbers(
    labels: Indices, class_names: tuple[str, ...], fraction: float, numbers: NDArray[np.float64]
) -> tuple[Indices, Indices]:
    """Return the positions in `labels` that stay and those split off, `fraction` of each class.

    `numbers` (n,) are the images' own, from 0 to 1; see `content.numbers`. Of a class with MANY
    images or more, those below `fraction` are split off, so that no image that is added moves
    another one. Chance would leave too few or too many of smaller classes: of these, the lowest are
    split off, as many as the share is, and an image that is added may move those at the border. So
    it is with larger classes where chance gives less than a third of the share, or more than twice.
    Images of one number, which are copies, stay together where the class has others.

    Raises:
        ValueError: a class would have no image on one side; the message names such classes.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    shares = np.floor(fraction * counts + 0.5).astype(np.int64)
    if not (shares % np.maximum(counts, 1)).all():
        whole = np.flatnonzero(shares % np.maximum(counts, 1) == 0)
        raise _lacking_error(fraction, whole, class_names, counts)
    kept, cut = [], []
    for positions, share in zip(classes, shares, strict=True):
        ordered = positions[np.argsort(numbers[positions], kind="stable")]
        many = int(_how_many(numbers[ordered], int(share), fraction))
        cut.append(ordered[:many])
        kept.append(ordered[many:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(cut))


def _how_many(ascending: NDArray[np.float64], share: int, fraction: float) -> int:
    """Return how many images of a class are split off: `share`, or those below `fraction`."""
    count = len(ascending)
    if count >= MANY:
        least, most = max(1, math.ceil(share / 3)), min(2 * share, count - 1)
        share = min(max(int(np.searchsorted(ascending, fraction)), least), most)
    same = np.searchsorted(ascending, ascending[share], "left")
    after = np.searchsorted(ascending, ascending[share], "right")
    ends = [int(end) for end in (same, after) if 0 < end < count]  # between copies there is none
    return min(ends, key=lambda end: abs(end - share), default=share)


def _lacking_error(
    fraction: float, numbers: Indices, class_names: tuple[str, ...], counts: Indices
) -> ValueError:
    lacking = [f"{class_names[i]!r} ({counted(counts[i], 'image')})" for i in numbers]
    return ValueError(
        f"a split of {fraction:g} leaves one side without an image of {first_of(lacking)}"
    )


def sample_by_numbers(
    labels: Indices,
    class_names: tuple[str, ...],
    fraction: float,
    most: int | None,
    numbers: NDArray[np.float64],
) -> Indices:
    """Return what `stratified_sample` does; of each class, the images of the lowest `numbers`."""
    order = np.argsort(numbers, kind="stable")
    positions = [order[labels[order] == number] for number in range(len(class_names))]
    return _sample(positions, class_names, fraction, most)


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
    return _sample(positions, class_names, fraction, most)


def _sample(
    positions: list[Indices], class_names: tuple[str, ...], fraction: float, most: int | None
) -> Indices:
    """Return the first of each class's positions, ascending: `fraction` of them, to `most`."""
    shares = [chosen[: round(fraction * len(chosen))] for chosen in positions]
    lacking = [
        f"{name!r} ({len(share)} of {counted(len(chosen), 'image')})"
        for name, share, chosen in zip(class_names, shares, positions, strict=True)
        if len(share) < (most or 1)
    ]
    if lacking:
        raise ValueError(f"too few training images of {first_of(lacking)}")
    return np.sort(np.concatenate([share[:most] for share in shares]))
