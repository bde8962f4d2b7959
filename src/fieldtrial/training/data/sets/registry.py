"""Data sets by name, and where this machine keeps them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
from PIL import Image
from sklearn.datasets import load_digits

from fieldtrial.training.data.sets.cifar10 import cifar10
from fieldtrial.training.data.sets.dogs_vs_cats import dogs_vs_cats
from fieldtrial.training.data.sets.flowers104 import flowers104
from fieldtrial.training.data.sets.image_folder import image_folder
from fieldtrial.training.data.sets.inat10 import inat10
from fieldtrial.training.data.sets.mnist import mnist
from fieldtrial.training.data.sets.stl10 import stl10
from fieldtrial.training.data.sets.tinyimagenet import tinyimagenet
from fieldtrial.training.data.source import TRAIN, Contents, Source, problem, with_test_cut


def data_root() -> Path:
    """Return where downloaded and given data sets are on this machine: $FIELDTRIAL_DATA."""
    return Path(
        os.environ.get("FIELDTRIAL_DATA") or Path.home() / ".cache/fieldtrial/data"
    ).absolute()


def locate(dataset: str, root: Path) -> str:
    """Return `dataset` with a folder's path made absolute: one name for one data set, wherever it
    is asked from.

    A relative path is looked for from the working directory, then under `root`.

    Raises:
        ConfigError: no such data set, or no such folder; the message lists the choices or the
        places.
    """
    if dataset in DATASETS:
        return dataset
    if not dataset.startswith("folder:"):
        raise problem(dataset, f"must be one of {', '.join(DATASETS)}, folder:PATH")
    path = Path(dataset.removeprefix("folder:")).expanduser()
    places = list(
        dict.fromkeys((Path.cwd() / path, root / path))
    )  # an absolute path is the same place twice
    for place in places:
        if place.is_dir():
            return f"folder:{place.resolve()}"
    raise problem(
        dataset,
        f"no such folder; looked for {' and '.join(map(str, places))}. It must hold train/ and val/"
        " or test/ with one folder of images per class each, or the class folders themselves;"
        " relative paths are also looked for under the environment variable FIELDTRIAL_DATA",
    )


def open_source(dataset: str, root: Path) -> Source:
    """Return the data set that `locate` named. What is not there is downloaded into `root`, if it
    can be.

    Raises:
        ConfigError: what is there is no usable data set, or the download failed; files, folders and
        classes named.
    """
    return (
        DATASETS[dataset](root)
        if dataset in DATASETS
        else image_folder(Path(dataset.removeprefix("folder:")))
    )


def digits(_root: Path) -> Source:
    """Return scikit-learn's copy of the UCI test set of handwritten digits: 1,797 images with 17
    shades of grey.
    """
    return Source(
        dataset="digits",
        fingerprint=sklearn.__version__,
        channels=1,
        image_size=8,
        contents=_digits_contents,
    )


def _digits_contents() -> Contents:
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    names = tuple(str(digit) for digit in bunch.target_names)
    return Contents(
        class_names=names,
        labels=labels,
        parts=with_test_cut(np.full(len(labels), TRAIN, np.uint8), labels, names),
        image=lambda index: Image.fromarray(pixels[index]),
        where=lambda index: f"digits, image {index}",
    )


DATASETS: dict[str, Callable[[Path], Source]] = {
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "stl10": stl10,
    "tinyimagenet": tinyimagenet,
    "inat10": inat10,
    "dogs_vs_cats": dogs_vs_cats,
    "flowers104": flowers104,
}
