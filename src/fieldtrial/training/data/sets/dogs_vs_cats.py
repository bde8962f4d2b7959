"""Dogs vs. Cats (Elson et al. 2007), the 25,000 labelled images of the Kaggle competition."""

import functools
import re
from pathlib import Path

import numpy as np
from PIL import Image

from fieldtrial.training.data.fetch.folder import Archive
from fieldtrial.training.data.sets.image_folder import IMAGE_SIZE
from fieldtrial.training.data.source import (
    TRAIN,
    Contents,
    Source,
    files_fingerprint,
    problem,
    with_test_cut,
)

CLASS_NAMES = ("cat", "dog")
NAME = re.compile(r"(cat|dog)\.(\d+)\.jpg")
TEST_FRACTION = 0.3  # the competition's own test images have no labels
ARCHIVE = Archive(
    dataset="dogs_vs_cats",
    folder="dogs-vs-cats",
    names=("dogs-vs-cats.zip", "train.zip"),
    wanted=lambda name: name == "train.zip" or name.startswith("train/"),
    nested="train.zip",
    hint=(
        "It needs a Kaggle account, and a click on its rules at"
        " https://www.kaggle.com/c/dogs-vs-cats/rules: then download dogs-vs-cats.zip from"
        " https://www.kaggle.com/c/dogs-vs-cats/data, or with Kaggle's own command, kaggle"
        " competitions download -c dogs-vs-cats"
    ),
)


def dogs_vs_cats(root: Path) -> Source:
    """Return the images of train/ (cat.0.jpg, ...), a fixed stratified 30 % of them as the test
    set.

    They are in `root`/dogs-vs-cats/train or, as they come out of train.zip, in `root`/train.

    Raises:
        ConfigError: they are not there; the message says how to get them.
    """
    folder = root / "train"
    if not (folder / "cat.0.jpg").is_file():
        folder = ARCHIVE.obtain(root) / "train"
    if not folder.is_dir():
        raise problem(
            ARCHIVE.dataset, f"{folder.parent} has no folder train/ with cat.0.jpg, dog.0.jpg, ..."
        )
    return Source(
        dataset=ARCHIVE.dataset,
        fingerprint=files_fingerprint([folder]),
        channels=3,
        image_size=IMAGE_SIZE,
        contents=functools.partial(_contents, folder),
    )


def _contents(folder: Path) -> Contents:
    found = sorted(
        (match[1], int(match[2]))
        for path in folder.iterdir()
        if (match := NAME.fullmatch(path.name))
    )
    paths = [folder / f"{name}.{number}.jpg" for name, number in found]
    labels = np.array([CLASS_NAMES.index(name) for name, _ in found], np.int64)
    try:
        parts = with_test_cut(
            np.full(len(labels), TRAIN, np.uint8), labels, CLASS_NAMES, TEST_FRACTION
        )
    except ValueError as error:
        raise problem(ARCHIVE.dataset, f"{folder}: {error}") from None
    return Contents(
        class_names=CLASS_NAMES,
        labels=labels,
        parts=parts,
        image=lambda index: Image.open(paths[index]),
        where=lambda index: str(paths[index]),
    )
