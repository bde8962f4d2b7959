"""What a run has answered for the images of a split, as its task has stored it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.run import Run
from fieldtrial.fields.task_metrics import classes_problem
from fieldtrial.metrics import Values
from fieldtrial.metrics_of import labels, numbers
from fieldtrial.results.read.arrays import DAMAGE, Kinds, names_in, read_arrays
from fieldtrial.results.read.predictions import StoredPredictions, load_predictions

INDEX: Kinds = {"index": ("i", 1)}
OF_LABELS: Kinds = {**INDEX, "truth": ("u", 2), "logit": ("f", 2)}
OF_NUMBERS: Kinds = {**INDEX, "target": ("f", 1), "value": ("f", 1), "deviation": ("f", 1)}
LARGEST = 1e30  # of a number's size: its square is finite


@dataclass(frozen=True, eq=False)
class StoredLabels:
    """A run's answers of task multilabel.

    index: which images of the data set's store these are, int64 (n,). truth: uint8 (n, labels), 1
    where an image has a label. logit: float (n, labels), finite. class_names: of the labels.
    """

    index: NDArray[np.int64]
    truth: NDArray[np.uint8]
    logit: NDArray[np.floating]
    class_names: tuple[str, ...]

    @property
    def answer(self) -> NDArray[np.floating]:
        """What the network gave, with a row for each image."""
        return self.logit

    @property
    def wanted(self) -> NDArray[np.uint8]:
        """What it should have given: which labels each image has."""
        return self.truth

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored."""
        return {"index": self.index, "truth": self.truth, "logit": self.logit}

    def loss(self) -> float:
        """Return the mean of the images' binary cross-entropies."""
        return float(labels.cross_entropy(self.truth, self.logit).mean())

    def take(self, order: NDArray[np.int64]) -> Self:
        """Return the answers for the images at these places."""
        own = (self.index[order], self.truth[order], self.logit[order])
        return type(self)(*own, self.class_names)

    def summary(self) -> dict[str, float]:
        """Return map, macro_f1 and micro_f1."""
        return labels.summary(self.truth, self.logit)

    def by_class(self) -> dict[str, Values]:
        """Return each label's F1, and its average precision, NaN where no image has it."""
        own = (self.truth, self.logit)
        return {"f1": labels.label_f1(*own), "ap": labels.label_average_precision(*own)}


@dataclass(frozen=True, eq=False)
class StoredNumbers:
    """A run's answers of task regression.

    index: as in StoredLabels. target, value: the true numbers and the network's, in their unit,
    float64 (n,), finite. deviation: of the training images' numbers. class_names: the number's.
    """

    index: NDArray[np.int64]
    target: Values
    value: Values
    deviation: float
    class_names: tuple[str, ...]

    @property
    def answer(self) -> Values:
        """What the network gave, with a row for each image."""
        return self.value

    @property
    def wanted(self) -> Values:
        """What it should have given: the true numbers."""
        return self.target

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored."""
        answers = {"target": self.target, "value": self.value}
        return {"index": self.index, **answers, "deviation": np.array([self.deviation])}

    def loss(self) -> float:
        """Return the mean squared error of the standardised numbers."""
        return float(np.square((self.value - self.target) / self.deviation).mean())

    def take(self, order: NDArray[np.int64]) -> Self:
        """Return the answers for the images at these places."""
        own = (self.index[order], self.target[order], self.value[order])
        return type(self)(*own, self.deviation, self.class_names)

    def summary(self) -> dict[str, float]:
        """Return mae, rmse and r2."""
        return numbers.summary(self.target, self.value)

    def by_class(self) -> dict[str, Values]:
        """Return nothing: there are no classes."""
        return {}


Answers = StoredPredictions | StoredLabels | StoredNumbers


def load_answers(run: Run, split: str = "test") -> Answers | None:
    """Return what `run` has stored for the images of `split`: validation or test.

    None: it is of a task whose images have no scores of their own, such as detection.

    Raises:
        FileNotFoundError, ValueError: as `load_predictions`.
    """
    path = run.predictions_path(split)
    try:
        stored = names_in(path)
        for name, (kinds, read) in KINDS.items():
            if name in stored:
                return read(read_arrays(path, kinds), _names(run))
    except FileNotFoundError:
        pass  # what follows says so
    except DAMAGE as error:
        raise ValueError(f"{path}: not whole predictions: {error}") from None
    else:
        if run.exists() and classes_problem(run.config().task, ""):
            return None
    return load_predictions(run, split)


def _names(run: Run) -> tuple[str, ...]:
    return tuple(map(str, (run.result() or {}).get("class_names") or ()))


def _labels(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> StoredLabels:
    """Return the answers in these arrays. Raises ValueError where they do not fit each other."""
    index, truth, logit = (arrays[name] for name in OF_LABELS)
    count, columns = logit.shape
    if not columns or truth.shape != logit.shape or truth.max(initial=0) > 1:
        raise ValueError(f"truth has {truth.shape} numbers and logit {logit.shape}, or not 0 and 1")
    _require_images(index, count, logit)
    if not truth.any():
        raise ValueError("no image has a label")
    names = names or tuple(map(str, range(columns)))
    if len(names) != columns:
        raise ValueError(f"{columns} labels, but the run's result names {len(names)}")
    return StoredLabels(index, truth, logit, names)


def _numbers(arrays: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> StoredNumbers:
    """Return the answers in these arrays. Raises ValueError where they do not fit each other."""
    index, target, value, deviation = (arrays[name] for name in OF_NUMBERS)
    if len(target) != len(value) or len(deviation) != 1 or not 0 < deviation[0] < LARGEST:
        raise ValueError(f"{len(target)} targets, {len(value)} values, deviation {deviation[:1]}")
    _require_images(index, len(value), target, value)
    wide = (target.astype(np.float64), value.astype(np.float64))
    return StoredNumbers(index, *wide, float(deviation[0]), names or ("number",))


def _require_images(index: NDArray[Any], count: int, *answers: NDArray[Any]) -> None:
    """Raise ValueError unless there is a row of finite numbers for each image, each once."""
    if not count or len(index) != count:
        raise ValueError(f"{len(index)} indices, {count} answers")
    if len(np.unique(index)) < count:
        raise ValueError("an image is there twice")
    if not all((np.abs(one) <= LARGEST).all() for one in answers):
        raise ValueError("numbers must be finite")


# An array that only one task's files have -> all arrays of these, and what makes answers of them.
Read = Callable[[Mapping[str, NDArray[Any]], tuple[str, ...]], Answers]
KINDS: dict[str, tuple[Kinds, Read]] = {
    "logit": (OF_LABELS, _labels),
    "value": (OF_NUMBERS, _numbers),
}
