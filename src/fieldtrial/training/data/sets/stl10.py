"""STL-10 (Coates, Lee and Ng 2011), from its binary files; the unlabelled images are left out."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Contents,
    Dataset,
    files_fingerprint,
    problem,
)
from fieldtrial.training.data.fetch.archive import Archive

SIDE = 96
PARTS = {TRAIN: ("train_X.bin", "train_y.bin"), TEST: ("test_X.bin", "test_y.bin")}
FILES = ("class_names.txt", *(name for names in PARTS.values() for name in names))
ARCHIVE = Archive(
    dataset="stl10",
    folder="stl10_binary",
    inside="stl10_binary",
    names=("stl10_binary.tar.gz",),
    url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    digest="md5:91f7769df0f17e558f3565bffb0c7dfb",
    wanted=lambda name: Path(name).name in FILES,
    required=FILES,
)


def stl10(root: Path) -> Dataset:
    """Return STL-10 from `root`/stl10_binary. Raises ConfigError if it is unavailable."""
    folder = ARCHIVE.obtain(root)
    return Dataset(
        name=ARCHIVE.dataset,
        fingerprint=files_fingerprint(folder / name for name in FILES),
        channels=3,
        image_size=SIDE,
        contents=functools.partial(_contents, folder),
    )


def _contents(folder: Path) -> Contents:
    names = tuple((folder / "class_names.txt").read_text().split())
    arrays = [(part, *_read(folder, *files, len(names))) for part, files in PARTS.items()]
    return Contents.of_arrays(ARCHIVE.dataset, names, arrays)


def _read(
    folder: Path, image_file: str, label_file: str, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a part's images (n, height, width, 3), memory-mapped, and its labels from 0."""
    size = (folder / image_file).stat().st_size
    labels = np.fromfile(folder / label_file, np.uint8).astype(np.int64) - 1
    fits = size == labels.size * 3 * SIDE**2 and np.isin(labels, range(classes)).all()
    if not size or not fits:
        raise problem(
            ARCHIVE.dataset,
            f"{folder / label_file} ({labels.size} labels of {classes} classes) does not fit"
            f" {image_file} ({size} bytes); remove {folder} to have it unpacked again",
        )
    # stored as channels, columns, rows
    planes = np.memmap(folder / image_file, np.uint8, mode="r").reshape(-1, 3, SIDE, SIDE)
    return planes.transpose(0, 3, 2, 1), labels
