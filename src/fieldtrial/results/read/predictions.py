"""A run's stored predictions, read without running any code of the run's."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fieldtrial import metrics
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Run
from fieldtrial.fields.task_metrics import classes_problem
from fieldtrial.results.read.arrays import DAMAGE, Kinds, names_in, read_arrays

KINDS: Kinds = {"index": ("i", 1), "label": ("i", 1)}
ANSWERS = ("log_probability", "probability")  # the second is of older files; float (n, classes)
LEAST = float(np.finfo(np.float32).smallest_subnormal)  # what is known of a probability of 0
SUM_ERROR = 1e-3  # by which the probabilities of an image may miss 1


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

    @property
    def answer(self) -> NDArray[np.floating]:
        """What the network gave, with a row for each image."""
        return self.log_probability

    @property
    def wanted(self) -> NDArray[np.int64]:
        """What it should have given: the class of each image."""
        return self.label

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored."""
        answers = {"label": self.label, "log_probability": self.log_probability}
        return {"index": self.index, **answers}

    def loss(self) -> float:
        """Return the mean cross-entropy."""
        return metrics.log_loss(self.label, self.log_probability)

    def take(self, order: NDArray[np.int64]) -> Self:
        """Return the predictions for the images at these places."""
        own = (self.index[order], self.label[order], self.log_probability[order])
        return type(self)(*own, self.class_names)

    def by_class(self) -> dict[str, NDArray[np.float64]]:
        """Return what is known of each class alone, by what it is."""
        return {"f1": self.class_f1()}

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


def _read(path: Inside) -> dict[str, NDArray[Any]]:
    """Return index, label and log_probability in `path`.

    Raises what numpy raises, and ValueError for other contents.
    """
    own = ANSWERS[ANSWERS[0] not in names_in(path)]
    arrays = read_arrays(path, {**KINDS, own: ("f", 2)})
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


def logarithm(probability: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the natural logarithms of probabilities, finite also where these were rounded to 0."""
    logarithms: NDArray[np.floating] = np.log(np.maximum(probability, LEAST))
    return logarithms
