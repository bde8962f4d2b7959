"""Images that look the same: which there are, and training images that are tested on too."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fieldtrial.fields.printable import counted
from fieldtrial.training.data.content import Keys
from fieldtrial.training.data.dataset import PART_NAMES, TEST, TRAIN, VALIDATION
from fieldtrial.training.data.splits import Indices

FEW = 0.5  # of the images that differ: with less, a data set is not what it seems


def without_copies(train: Indices, others: Sequence[Indices], pixels: Keys) -> Indices:
    """Return those of `train` that look like none of `others`; pixels: keys of how all look."""
    return train[~np.isin(pixels[train], pixels[np.concatenate(others)])]


def copies_between(train: Indices, own: Indices, part: int, pixels: Keys) -> list[str]:
    """Return a line on how many images of a part look like one of `train`, where there are any."""
    count = int(np.isin(pixels[own], pixels[train]).sum())
    among = f"of {len(own):,} {PART_NAMES[part]} images are among the training images too"
    return [f"{count:,} {among}"] if count else []


def equal_images(labels: Indices, parts: NDArray[np.uint8], pixels: Keys) -> list[str]:
    """Return a line for each way in which images of a data set look the same at the store's size.

    labels, parts: of the data set, before anything is split off its training images.
    """
    different, group = np.unique(pixels, return_inverse=True)
    if len(different) == len(pixels):
        return []
    lines = []
    if len(different) < FEW * len(pixels):
        lines.append(f"only {len(different):,} of {len(pixels):,} images differ from each other")
    train = np.flatnonzero(parts == TRAIN)
    for part in (VALIDATION, TEST):
        lines += copies_between(train, np.flatnonzero(parts == part), part, pixels)
    if again := len(train) - len(np.unique(group[train])):
        lines.append(f"{again:,} of {len(train):,} training images are there more than once")
    lowest, highest = np.full(len(different), labels.max()), np.zeros(len(different), int)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    if torn := int((lowest < highest)[group].sum()):
        lines.append(f"{counted(torn, 'image')} with the same pixels as one of another class")
    return lines
