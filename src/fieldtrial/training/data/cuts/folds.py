"""Folds: all labelled images of a data set, cut into parts that are tested one after another."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fieldtrial.training.data.content import numbers
from fieldtrial.training.data.dataset import TEST, TRAIN, VALIDATION
from fieldtrial.training.data.image_store import Store
from fieldtrial.training.data.labels.strata import classes_to_cut
from fieldtrial.training.data.splits import Indices, first_of


class Fold(NamedTuple):
    """What a fold is tested on, and what is left to train on.

    train, test: ascending positions in the data set. parts: of all of its images, (n,), with these.
    remark: a line on what the folds hold.
    """

    train: Indices
    test: Indices
    parts: NDArray[np.uint8]
    remark: str


class Asked(Protocol):
    """Which fold of how many is asked for; its numbers are from 0 on."""

    @property
    def folds(self) -> int:
        """How many there are."""

    @property
    def fold(self) -> int:
        """The number of the one that is tested."""


def cut_fold(store: Store, labels: Indices, class_names: tuple[str, ...], asked: Asked) -> Fold:
    """Return a fold of the store's images, of all of its parts.

    labels: of all images, (n,); one of -1 is of no chosen class, and in no fold.

    Raises:
        ValueError: the data set has validation images of its own, or a class too few images.
    """
    if (store.parts == VALIDATION).any():
        raise ValueError(
            "it has validation images of its own (val/), and folds hold all images; put these into"
            " one folder for each class"
        )
    every, folds = np.flatnonzero(labels >= 0), asked.folds
    strata = None if store.strata is None else store.strata[every]
    cut_by = classes_to_cut(labels[every], class_names, strata, 1 / folds)
    own = fold_of_each(*cut_by, folds, numbers(store.keys[every], "folds"))
    train, test = every[own != asked.fold], every[own == asked.fold]
    parts = store.parts.copy()
    parts[train], parts[test] = TRAIN, TEST
    held = f"folds hold all {len(every):,} labelled images, those of a test set too"
    return Fold(train, test, parts, f"fold {asked.fold} of {folds}, counted from 0: {held}")


def fold_of_each(
    labels: Indices, class_names: tuple[str, ...], folds: int, numbers: NDArray[np.float64]
) -> Indices:
    """Return the fold of each image, int64 (n,), from 0 to folds - 1: as many of each class in all.

    The images of a class are taken in the order of their `numbers` (n,), which depend on what they
    contain alone: the cut is the same in each process, and where the files have other names. Images
    of one number, which are copies, stay together. Classes begin with one fold after another, so
    that the images that are left over are shared out.

    Raises:
        ValueError: a class has fewer different images than there are folds; the message names such
            classes.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    found, lacking = np.empty(len(labels), np.int64), []
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    for number, positions in enumerate(classes):
        ordered = positions[np.argsort(numbers[positions], kind="stable")]
        # where one may begin: not between copies
        starts = np.flatnonzero(np.diff(numbers[ordered])) + 1
        if len(starts) + 1 < folds or not len(ordered):
            different = len(starts) + min(1, len(ordered))
            lacking.append(f"{class_names[number]!r} ({different} different images)")
            continue
        place = np.searchsorted(
            _begins(starts, len(ordered), folds), np.arange(len(ordered)), "right"
        )
        found[ordered] = (place + number) % folds
    if lacking:
        raise ValueError(f"{folds} folds leave some without an image of {first_of(lacking)}")
    return found


def _begins(starts: Indices, count: int, folds: int) -> list[int]:
    """Return where the second and each further fold of a class begins, among `starts`, rising."""
    found: list[int] = []
    last = -1
    for number in range(1, folds):
        nearest = int(np.abs(starts - number * count / folds).argmin())
        last = min(max(nearest, last + 1), len(starts) - (folds - number))
        found.append(int(starts[last]))
    return found
