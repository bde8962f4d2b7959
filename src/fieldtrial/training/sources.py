"""What a data set is before it is decoded: images with labels and parts, and a fingerprint."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.training.splits import Indices, stratified_cut

TRAIN, VALIDATION, TEST = 0, 1, 2
TEST_FRACTION = 0.2  # of a data set that comes without a test set; the cut is the same for every seed


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The images of a data set, numbered from 0.

    `labels` and `parts` (TRAIN, VALIDATION or TEST) have one entry an image. `image(i)` opens image i and raises
    whatever its decoder raises; `where(i)` says where that image is.
    """

    class_names: tuple[str, ...]
    labels: Indices
    parts: NDArray[np.uint8]
    image: Callable[[int], Image.Image]
    where: Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that was found, and is to be decoded.

    `dataset` is its full name, `fingerprint` changes with its files and is cheap, `contents()` may take its time.
    `image_size` is the side, in pixels, of its images or, where they have many sizes, of what is usually made of them.
    """

    dataset: str
    fingerprint: str
    channels: int
    image_size: int
    contents: Callable[[], Contents]


def problem(dataset: str, *texts: str) -> ConfigError:
    """Return the error that says what is wrong with a data set, a line for each of `texts`."""
    return ConfigError([f"dataset = {dataset!r}: {text}" for text in texts])


def with_test_cut(parts: NDArray[np.uint8], labels: Indices, class_names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return `parts` with a fixed stratified share of all images as the test set. Raises ValueError."""
    parts = parts.copy()
    parts[stratified_cut(labels, class_names, TEST_FRACTION, seed=0)[1]] = TEST
    return parts
