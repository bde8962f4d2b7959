"""Dogs vs. Cats (Elson et al. 2007), the 25,000 labelled images of the Kaggle competition."""

import functools
import re
from pathlib import Path

from fieldtrial.training.data.dataset import TRAIN, Contents, Dataset, files_fingerprint, problem
from fieldtrial.training.data.fetch.archive import Archive, kaggle_hint
from fieldtrial.training.data.sets.image_folder import IMAGE_SIZE

CLASS_NAMES = ("cat", "dog")
NAME = re.compile(r"(cat|dog)\.(\d+)\.jpg")
TEST_FRACTION = 0.3  # the competition's own test images have no labels
ARCHIVE = Archive(
    dataset="dogs_vs_cats",
    folder="dogs-vs-cats",
    names=("dogs-vs-cats.zip", "train.zip"),
    wanted=lambda name: name == "train.zip" or name.startswith("train/"),
    nested="train.zip",
    hint=kaggle_hint("dogs-vs-cats", "dogs-vs-cats.zip"),
)


def dogs_vs_cats(root: Path) -> Dataset:
    """Return the images of train/ (cat.0.jpg, ...); a fixed stratified 30 % are the test set.

    They are in `root`/dogs-vs-cats/train, or in `root`/train as train.zip unpacks them.

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
    return Dataset(
        name=ARCHIVE.dataset,
        fingerprint=files_fingerprint(sorted(folder.iterdir())),
        channels=3,
        image_size=IMAGE_SIZE,
        contents=functools.partial(_contents, folder),
        test_fraction=TEST_FRACTION,
    )


def _contents(folder: Path) -> Contents:
    found = sorted(
        (CLASS_NAMES.index(match[1]), int(match[2]), path)
        for path in folder.iterdir()
        if (match := NAME.fullmatch(path.name))
    )
    return Contents.of_files(CLASS_NAMES, [(path, label, TRAIN) for label, _, path in found])
