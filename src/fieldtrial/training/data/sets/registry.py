"""Data sets by name, and their folder on this machine."""

from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fieldtrial.own.names import is_own
from fieldtrial.training.data.boxes.box_folder import IMAGE_SIZE, LAYOUT, box_folder
from fieldtrial.training.data.boxes.shapes import shapes
from fieldtrial.training.data.dataset import TRAIN, Contents, Dataset, problem
from fieldtrial.training.data.sets.cifar10 import cifar10
from fieldtrial.training.data.sets.dogs_vs_cats import dogs_vs_cats
from fieldtrial.training.data.sets.flowers104 import flowers104
from fieldtrial.training.data.sets.image_folder import image_folder
from fieldtrial.training.data.sets.inat10 import inat10
from fieldtrial.training.data.sets.mnist import mnist
from fieldtrial.training.data.sets.own_dataset import own_dataset
from fieldtrial.training.data.sets.stl10 import stl10
from fieldtrial.training.data.sets.tinyimagenet import tinyimagenet


def locate(dataset: str, root: Path) -> str:
    """Return `dataset`, a folder with its absolute path, so that one data set has one name.

    An own data set has its name already. A relative path is looked up in the working
    directory, then under `root`.

    Raises:
        ConfigError: no such data set or folder; the message lists the choices, or the places that
            were searched.
    """
    if dataset in DATASETS or dataset in BOX_DATASETS or is_own(dataset):
        return dataset
    kind = dataset.partition(":")[0]
    if kind not in FOLDERS:
        names = ", ".join([*DATASETS, *BOX_DATASETS])
        raise problem(dataset, f"must be one of {names}, folder:PATH, boxes:PATH, {OWN}")
    path = Path(dataset.removeprefix(f"{kind}:")).expanduser()
    places = list(dict.fromkeys((Path.cwd() / path, root / path)))  # equal for an absolute path
    for place in places:
        if place.is_dir():
            return f"{kind}:{place.resolve()}"
    raise problem(
        dataset,
        f"no such folder; looked for {' and '.join(map(str, places))}. {FOLDERS[kind]}; relative"
        " paths are also looked for under the environment variable FIELDTRIAL_DATA",
    )


def open_dataset(dataset: str, root: Path, options: Iterable[tuple[str, Any]] = ()) -> Dataset:
    """Return the data set that `locate` named; it is downloaded into `root` if it can be.

    options: of an own data set.

    Raises:
        ConfigError: it is unusable, or the download failed; the message names files, folders and
            classes.
    """
    if dataset in DATASETS or dataset in BOX_DATASETS:
        return (DATASETS | BOX_DATASETS)[dataset](root)
    if is_own(dataset):
        return own_dataset(dataset, root, dict(options))
    kind, _, path = dataset.partition(":")
    return box_folder(Path(path)) if kind == BOXES else image_folder(Path(path))


def has_boxes(dataset: str) -> bool:
    """Return whether the images of a data set are labelled with boxes, not with a class each."""
    return dataset in BOX_DATASETS or dataset.startswith(f"{BOXES}:")


def box_image_size(dataset: str) -> int:
    """Return the side in pixels of a data set with boxes; of a folder, without looking into it."""
    made = BOX_DATASETS.get(dataset)
    return made(Path()).image_size if made else IMAGE_SIZE


def digits(_root: Path) -> Dataset:
    """Return scikit-learn's handwritten digits (UCI): 1,797 images in 17 shades of grey."""
    return Dataset(
        name="digits",
        fingerprint=version("scikit-learn"),
        channels=1,
        image_size=8,
        contents=_digits_contents,
    )


def _digits_contents() -> Contents:
    from sklearn.datasets import load_digits  # late: its import takes two seconds

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    names = tuple(str(digit) for digit in bunch.target_names)
    arrays = [(TRAIN, pixels, bunch.target.astype(np.int64))]
    return Contents.of_arrays("digits", names, arrays).with_test_split()


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "stl10": stl10,
    "tinyimagenet": tinyimagenet,
    "inat10": inat10,
    "dogs_vs_cats": dogs_vs_cats,
    "flowers104": flowers104,
}
BOX_DATASETS: dict[str, Callable[[Path], Dataset]] = {"shapes": shapes}
BOXES = "boxes"
OWN = "package.module:NAME for a data set of yours"
FOLDERS = {
    "folder": "It must hold train/ and val/ or test/ with one folder of images per class each, or"
    " the class folders themselves",
    BOXES: LAYOUT[0].upper() + LAYOUT[1:],
}
