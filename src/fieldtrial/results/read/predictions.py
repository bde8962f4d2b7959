"""A run's stored predictions, read without running any code of the run's."""

import math
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fieldtrial import metrics
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import open_file
from fieldtrial.disk.run import Run
from fieldtrial.fields.task_metrics import classes_problem

KINDS = {"index": ("i", 1), "label": ("i", 1)}
ANSWERS = ("log_probability", "probability")  # the second is of older files; float (n, classes)
LEAST = float(np.finfo(np.float32).smallest_subnormal)  # what is known of a probability of 0
SUM_ERROR = 1e-3  # by which the probabilities of an image may miss 1
MOST_BYTES = 2 << 30  # of the arrays of a file, unpacked: 500,000 images of 1,000 classes
MOST_MEMBERS, MOST_DIRECTORY, MOST_HEAD = 16, 64 << 10, 1000  # the last two in bytes
END = struct.Struct("<4s4H2LH")  # of a zip file without a comment
LOCATOR_BYTES = 20  # before it, in files of more than 2 GiB: where another end is
# What zipfile and numpy raise for files that are damaged, encrypted or packed in an unknown way.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True, eq=False)
class StoredPredictions:
    """The predictions of one run for the images of one split.

    `index` and `label`, int64 (n,), say which images of the data set's store these are, and of
    which classes; `log_probability` is float (n, classes), finite natural logarithms, and
    `class_names` has a name for each of its columns. Older runs stored probabilities as float32:
    sure answers of theirs are equal to each other.
    """

    index: NDArray[np.int64]
    label: NDArray[np.int64]
    log_probability: NDArray[np.floating]
    class_names: tuple[str, ...]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 (n,)."""
        predicted: NDArray[np.int64] = self.log_probability.argmax(1)
        return predicted

    @property
    def probability(self) -> NDArray[np.floating]:
        """The probability of each class, (n, classes)."""
        probability: NDArray[np.floating] = np.exp(self.log_probability)
        return probability

    def summary(self) -> dict[str, float]:
        """Return accuracy, macro_f1, auc and, with more than five classes, top5_accuracy."""
        return metrics.summary(self.label, self.log_probability)

    def confusion_matrix(self) -> NDArray[np.int64]:
        """Return how many images of each class (rows) were taken for each class (columns)."""
        return metrics.confusion_matrix(self.label, self.log_probability)

    def class_accuracy(self) -> NDArray[np.float64]:
        """Return the accuracy among the images of each class, NaN for a class without images."""
        return metrics.class_accuracy(self.label, self.log_probability)

    def class_f1(self) -> NDArray[np.float64]:
        """Return each class's F1, 0 for a class never right."""
        return metrics.class_f1(self.label, self.log_probability)

    def class_auc(self) -> NDArray[np.float64]:
        """Return the area under each class's one-vs-rest ROC curve."""
        return metrics.class_auc(self.label, self.log_probability)

    def roc_curves(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Return each class's one-vs-rest ROC curve: false and true positive rates."""
        return metrics.roc_curves(self.label, self.log_probability)


def load_predictions(run: Run, split: str = "test") -> StoredPredictions:
    """Return the predictions of `run` for the images of `split`: validation or test.

    Class names come from result.json. In runs that are older than those, classes have numbers.

    Raises:
        FileNotFoundError: no run is there, or it has stored none; the message names the file, and
            the command that makes it.
        ValueError: the file is damaged, or does not hold predictions.
    """
    path = run.predictions_path(split)
    try:
        arrays = _read(path)
    except FileNotFoundError:
        run.config()  # says so if this is no run
        raise FileNotFoundError(
            f"{path}: no such file; fieldtrial evaluate --run {run.path} --split {split} makes"
            " it from the weights"
        ) from None
    except DAMAGE as error:
        _require_classes(run)
        raise ValueError(f"{path}: not whole predictions: {error}") from None
    classes = arrays["log_probability"].shape[1]
    names = tuple(map(str, (run.result() or {}).get("class_names") or range(classes)))
    if len(names) != classes:
        raise ValueError(
            f"{path}: holds predictions of {classes} classes, but the run's result names"
            f" {len(names)}"
        )
    return StoredPredictions(arrays["index"], arrays["label"], arrays["log_probability"], names)


def _require_classes(run: Run) -> None:
    """Raise ValueError if the run's task has no probabilities of classes.

    An ensemble has no config: its file alone says what it holds.
    """
    if run.exists() and (why := classes_problem(run.config().task, f"{run.path}: this")):
        raise ValueError(why)


def _array(archive: zipfile.ZipFile, name: str, kind: str, dimensions: int) -> NDArray[Any]:
    """Return an array of numbers. Its head is believed only as far as its bytes are there."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is packed")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_head = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read_head = np.lib.format.read_array_header_1_0
        shape, is_fortran, dtype = read_head(file, max_header_size=MOST_HEAD)
        if dtype.kind != kind or len(shape) != dimensions:
            raise ValueError(f"{name} is {dtype} with {len(shape)} dimensions")
        if is_fortran or math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise ValueError(f"{name} has {info.file_size:,} bytes, which are not {shape} numbers")
        return np.frombuffer(file.read(), dtype).reshape(shape)


def _read(path: Inside) -> dict[str, NDArray[Any]]:
    """Return index, label and log_probability in `path`.

    Raises what numpy raises, and ValueError for other contents.
    """
    with open_file(path) as file, zipfile.ZipFile(_small(file)) as archive:
        own = ANSWERS[f"{ANSWERS[0]}.npy" not in archive.namelist()]
        kinds = {**KINDS, own: ("f", 2)}
        sizes = sum(archive.getinfo(f"{name}.npy").file_size for name in kinds)
        if sizes > MOST_BYTES:
            raise ValueError(f"{sizes:,} bytes of arrays; must be at most {MOST_BYTES:,}")
        arrays = {name: _array(archive, name, *kinds[name]) for name in kinds}
    count, classes = arrays[own].shape
    if not count or not len(arrays["index"]) == len(arrays["label"]) == count:
        raise ValueError(
            f"{len(arrays['index'])} indices, {len(arrays['label'])} labels, {count} probabilities"
        )
    if len(np.unique(arrays["index"])) < count:
        raise ValueError("an image is there twice")
    if not (arrays["label"].min() >= 0 and arrays["label"].max() < classes):
        raise ValueError(f"labels must be from 0 to {classes - 1}")
    answers = arrays.pop(own)
    is_log = own == ANSWERS[0]
    # Only what is in order is taken to the exponential, and so no damage can overflow it.
    is_sound = np.isfinite(answers).all() and (answers.max() <= 0 if is_log else answers.min() >= 0)
    sums = (np.exp(answers) if is_log else answers).sum(1) if is_sound else np.zeros(1)
    if not np.abs(sums - 1).max() < SUM_ERROR:
        raise ValueError("probabilities must be from 0 to 1, and 1 in sum for each image")
    return {**arrays, ANSWERS[0]: answers if is_log else logarithm(answers)}


def _small(file: IO[bytes]) -> IO[bytes]:
    """Return `file` if its zip directory is as small as numpy's; zipfile would read any.

    Raises:
        ValueError, struct.error: it is not.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END.size - LOCATOR_BYTES))
    before, end = file.read(LOCATOR_BYTES), file.read(END.size)
    mark, _, _, _, members, length, _, comment = END.unpack(end)
    is_plain = mark == b"PK\5\6" and not comment and not before.startswith(b"PK\6\7")
    if not is_plain or members > MOST_MEMBERS or length > MOST_DIRECTORY:
        raise ValueError("it does not end as numpy's files do")
    return file


def logarithm(probability: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the natural logarithms of probabilities, finite also where these were rounded to 0."""
    logarithms: NDArray[np.floating] = np.log(np.maximum(probability, LEAST))
    return logarithms
