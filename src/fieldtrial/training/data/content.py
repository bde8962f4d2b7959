"""What images are told apart by: a key of the content of each, and numbers to cut them by."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fieldtrial.training.data.dataset import Contents
from fieldtrial.training.data.splits import Indices, cut_by_numbers, stratified_cut

Keys = NDArray[np.uint64]


def key_of(content: bytes) -> int:
    """Return 64 bits of a digest: equal contents have equal keys, on any machine."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def keys_of(contents: Contents) -> Keys:
    """Return the key of each image's content, (n,): of its file, not of its pixels at some size.

    Raises:
        OSError: a file cannot be read.
    """
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
        found = pool.map(lambda index: key_of(contents.content(index)), range(len(contents.labels)))
        return np.fromiter(found, np.uint64, len(contents.labels))


def numbers(keys: Keys, purpose: str, seed: int = 0) -> NDArray[np.float64]:
    """Return a number from 0 to 1 for each image, (n,), which other images do not change.

    Other purposes and seeds give numbers that have nothing to do with these. They are uniform: the
    key and a digest of purpose and seed are mixed as in SplitMix64 (Steele, Lea & Flood 2014).
    """
    value = keys ^ np.uint64(key_of(f"{purpose} {seed}".encode()))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    mixed: NDArray[np.float64] = (value ^ (value >> np.uint64(31))) * 2.0**-64
    return mixed


def cut_validation(
    labels: Indices, class_names: tuple[str, ...], fraction: float, seed: int, keys: Keys | None
) -> tuple[Indices, Indices]:
    """Return the positions in `labels` that stay training images, and those held out, ascending.

    keys: of the images; None where they are cut by their positions. Raises ValueError as the cuts.
    """
    if keys is None:
        return stratified_cut(labels, class_names, fraction, seed)
    return cut_by_numbers(labels, class_names, fraction, numbers(keys, "validation", seed))
