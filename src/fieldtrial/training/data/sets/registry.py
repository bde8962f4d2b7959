"""Data sets by name, and their folder on this machine."""

from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fieldtrial.fields.choices import TaskName
from fieldtrial.own.names import is_own
from fieldtrial.training.data.boxes.box_folder import IMAGE_SIZE, LAYOUT, box_folder
from fieldtrial.training.data.boxes.shapes import shapes
from fieldtrial.training.data.dataset import TRAIN, Contents, Dataset, Wanted, problem
from fieldtrial.training.data.labels.labelled_folder import open_folder
from fieldtrial.training.data.sets.cifar10 import cifar10
from fieldtrial.training.data.sets.dogs_vs_cats import dogs_vs_cats
from fieldtrial.training.data.sets.flowers104 import flowers104
from fieldtrial.training.data.sets.inat10 import inat10
from fieldtrial.training.data.sets.mnist import mnist
from fieldtrial.training.data.sets.own_dataset import own_dataset
from fieldtrial.training.data.sets.stl10 import stl10
from fieldtrial.training.data.sets.tinyimagenet import tinyimagenet

CLASSES = Wanted()


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


def open_dataset(
    dataset: str,
    root: Path,
    wanted: Wanted = CLASSES,
    options: Iterable[tuple[str, Any]] = (),
) -> Dataset:
    """Return the data set that `locate` named; it is downloaded into `root` if it can be.

    wanted: what the images must be labelled with; see `misfit`. options: of an own data set.

    Raises:
        ConfigError: it is unusable, or the download failed; the message names files, folders and
            classes.
    """
    if dataset in DATASETS:
        return DATASETS[dataset](root)
    if dataset in BOX_DATASETS:
        return BOX_DATASETS[dataset](wanted)
    if is_own(dataset):
        return own_dataset(dataset, root, dict(options))
    kind, _, path = dataset.partition(":")
    return box_folder(Path(path)) if kind == BOXES else open_folder(Path(path), wanted)


def misfit(dataset: str, task: TaskName) -> str:
    """Return why the images of a data set have no labels for the task, or "" where they have, or
    where there is no such data set.
    """
    served = _served(dataset) or (task,)
    if task in served:
        return ""
    return (
        f"its images are labelled for task = {' or '.join(served)}; task = {task} needs"
        f" {NEEDED[task]}"
    )


def first_task(dataset: str) -> TaskName:
    """Return the first task that a data set has labels for: the usual one for its kind."""
    return (_served(dataset) or CLASSIFIED)[0]


def _served(dataset: str) -> tuple[TaskName, ...]:
    """Return the tasks that a data set has labels for; none where there is no such data set."""
    if dataset in DATASETS or is_own(dataset):
        return CLASSIFIED
    return SERVED.get(dataset.partition(":")[0], ())


def has_boxes(dataset: str) -> bool:
    """Return whether the images of a data set are labelled with boxes, not with a class each."""
    return dataset in BOX_DATASETS or dataset.startswith(f"{BOXES}:")


def box_image_size(dataset: str) -> int:
    """Return the side in pixels of a data set with boxes; of a folder, without looking into it."""
    made = BOX_DATASETS.get(dataset)
    return made(Wanted("detection")).image_size if made else IMAGE_SIZE


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
BOX_DATASETS: dict[str, Callable[[Wanted], Dataset]] = {"shapes": shapes}
BOXES = "boxes"
CLASSIFIED: tuple[TaskName, ...] = ("classification",)
# The tasks that data sets have labels for, by the name or by what is before the path.
SERVED: dict[str, tuple[TaskName, ...]] = {
    "shapes": ("detection", "multilabel", "regression"),
    "folder": ("classification", "multilabel", "regression"),
    BOXES: ("detection",),
}
IN_TABLE = "folder:PATH with labels.csv, or shapes"
NEEDED: dict[TaskName, str] = {
    "classification": "folder:PATH, or a data set with classes",
    "multilabel": IN_TABLE,
    "regression": IN_TABLE,
    "detection": "boxes:PATH, or shapes",
}
OWN = "package.module:NAME for a data set of yours"
FOLDERS = {
    "folder": "It must hold train/ and val/ or test/ with one folder of images per class each, or"
    " the class folders themselves, or labels.csv",
    BOXES: LAYOUT[0].upper() + LAYOUT[1:],
}
