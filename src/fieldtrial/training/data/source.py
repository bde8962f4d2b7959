"""What a data set is before it is decoded: images with labels and parts, and a fingerprint."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.training.data.splits import NAMED_CLASSES, Indices, stratified_cut

TRAIN, VALIDATION, TEST = 0, 1, 2
PART_NAMES = ("training", "validation", "test")
TEST_FRACTION = (
    0.2  # of a data set that comes without a test set; the cut is the same for every seed
)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The images of a data set, numbered from 0.

    `labels` and `parts` (TRAIN, VALIDATION or TEST) have one entry an image. `image(i)` opens image
    i and raises whatever its decoder raises; `where(i)` says where that image is.
    """

    class_names: tuple[str, ...]
    labels: Indices
    parts: NDArray[np.uint8]
    image: Callable[[int], Image.Image]
    where: Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that was found, and is to be decoded.

    `dataset` is its full name, `fingerprint` changes with its files and is cheap, `contents()` may
    take its time. `image_size` is the side, in pixels, of its images or, where they have many
    sizes, of what is usually made of them.
    """

    dataset: str
    fingerprint: str
    channels: int
    image_size: int
    contents: Callable[[], Contents]


def problem(dataset: str, *texts: str) -> ConfigError:
    """Return the error that says what is wrong with a data set, a line for each of `texts`."""
    return ConfigError([f"dataset = {dataset!r}: {text}" for text in texts])


def with_test_cut(
    parts: NDArray[np.uint8],
    labels: Indices,
    class_names: tuple[str, ...],
    fraction: float = TEST_FRACTION,
) -> NDArray[np.uint8]:
    """Return `parts` with a fixed stratified share of all images as the test set. Raises
    ValueError.
    """
    parts = parts.copy()
    parts[stratified_cut(labels, class_names, fraction, seed=0)[1]] = TEST
    return parts


def require_every_class(dataset: str, contents: Contents) -> None:
    """Raise ConfigError, with the classes, if a class has no image in one of the parts that there
    are.
    """
    problems = []
    for part in np.unique(np.append(contents.parts, [TRAIN, TEST])):
        counts = np.bincount(
            contents.labels[contents.parts == part], minlength=len(contents.class_names)
        )
        lacking = [repr(contents.class_names[number]) for number in np.flatnonzero(counts == 0)]
        if lacking:
            more = (
                f" and {len(lacking) - NAMED_CLASSES} more" if len(lacking) > NAMED_CLASSES else ""
            )
            problems.append(
                f"no {PART_NAMES[part]} image of {', '.join(lacking[:NAMED_CLASSES])}{more}"
            )
    if problems:
        raise problem(dataset, *problems)


def files_fingerprint(paths: Iterable[Path]) -> str:
    """Return a digest of the paths' names, sizes and times of change: what tells one state of few
    files from another.

    Raises:
        OSError: one of them is not there, or cannot be looked at.
    """
    facts = [
        (path.name, stat.st_size, stat.st_mtime_ns) for path in paths for stat in [path.stat()]
    ]
    return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()
