"""STL-10 (Coates, Lee and Ng 2011), from its binary files; the unlabelled images are left out."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.training.data.fetch.folder import Archive
from fieldtrial.training.data.source import (
    TEST,
    TRAIN,
    Contents,
    Source,
    files_fingerprint,
    problem,
)

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
)


def stl10(root: Path) -> Source:
    """Return STL-10 from `root`/stl10_binary. Raises ConfigError if it cannot be had, or files are
    missing.
    """
    folder = ARCHIVE.obtain(root)
    missing = [str(folder / name) for name in FILES if not (folder / name).is_file()]
    if missing:
        raise problem(
            ARCHIVE.dataset, f"no {', '.join(missing)}; remove {folder} to have it unpacked again"
        )
    return Source(
        dataset=ARCHIVE.dataset,
        fingerprint=files_fingerprint(folder / name for name in FILES),
        channels=3,
        image_size=SIDE,
        contents=functools.partial(_contents, folder),
    )


def _contents(folder: Path) -> Contents:
    class_names = tuple((folder / "class_names.txt").read_text().split())
    images, labels = zip(
        *(_read(folder, *names, len(class_names)) for names in PARTS.values()), strict=True
    )
    ends = np.cumsum([len(part) for part in images])

    def image(index: int) -> Image.Image:
        part = int(np.searchsorted(ends, index, side="right"))
        planes = images[part][
            index - ends[part]
        ]  # counted from its part's end; channels, columns, rows
        return Image.fromarray(np.ascontiguousarray(planes.transpose(2, 1, 0)))

    return Contents(
        class_names=class_names,
        labels=np.concatenate(labels),
        parts=np.repeat(np.array(list(PARTS), np.uint8), [len(part) for part in images]),
        image=image,
        where=lambda index: f"{folder}, image {index}",
    )


def _read(
    folder: Path, image_file: str, label_file: str, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images of a part, mapped, channels first and transposed as they are stored, and
    labels from 0.
    """
    size = (folder / image_file).stat().st_size
    labels = np.fromfile(folder / label_file, np.uint8).astype(np.int64) - 1
    if (
        not size
        or size != labels.size * 3 * SIDE**2
        or labels.min(initial=0) < 0
        or labels.max(initial=0) >= classes
    ):
        text = (
            f"{folder / label_file} ({labels.size} labels of {classes} classes) does not fit"
            f" {image_file}"
        )
        raise problem(
            ARCHIVE.dataset, f"{text} ({size} bytes); remove {folder} to have it unpacked again"
        )
    return np.memmap(folder / image_file, np.uint8, mode="r").reshape(-1, 3, SIDE, SIDE), labels
