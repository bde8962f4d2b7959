"""Tasks and their metrics: what each is called, how it is read, and which one chooses."""

import typing
from dataclasses import dataclass
from typing import Literal

from fieldtrial.fields.choices import Criterion, TaskName


@dataclass(frozen=True)
class Metric:
    """A metric of a split.

    Attributes:
        words: what people call it.
        is_share: whether it is read in per cent.
        more_is_better: as it says.
        in_units: whether it is in the unit of the number that is learned, whatever its size.
    """

    words: str
    is_share: bool = True
    more_is_better: bool = True
    in_units: bool = False


# A name without its split: test_accuracy is the accuracy on the test images.
METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy"),
    "loss": Metric("loss", is_share=False, more_is_better=False),
    "macro_f1": Metric("macro f1"),
    "auc": Metric("auc", is_share=False),
    "top5_accuracy": Metric("top5 accuracy"),
    "map": Metric("mAP"),
    "map50": Metric("mAP at 0.5"),
    "micro_f1": Metric("micro f1"),
    "mae": Metric("MAE", is_share=False, more_is_better=False, in_units=True),
    "rmse": Metric("RMSE", is_share=False, more_is_better=False, in_units=True),
    "r2": Metric("R²", is_share=False),
}
# The metrics that may choose epochs and winners on validation, the usual one first.
CHOOSING: dict[TaskName, tuple[str, ...]] = {
    "classification": ("accuracy", "loss"),
    "multilabel": ("map", "macro_f1", "micro_f1", "loss"),
    "regression": ("mae", "rmse", "r2", "loss"),
    "detection": ("map", "map50", "loss"),
}
# The tasks whose answers are probabilities of classes: for pictures of classes, explanations
# and support vector machines.
WITH_CLASSES: tuple[TaskName, ...] = ("classification",)
# What is known of each class or label by itself, as a measure CLASS_f1 or CLASS_ap of a table.
OF_EACH: dict[TaskName, tuple[str, ...]] = {"classification": ("f1",), "multilabel": ("f1", "ap")}
SPLITS = ("train", "validation", "test")


def criteria(task: TaskName) -> tuple[Criterion, ...]:
    """Return what a sweep's `select` may be for a task, the usual one first."""
    known = {choosing_metric(one): one for one in typing.get_args(Criterion)}
    return tuple(known[name] for name in CHOOSING[task])


def select_problems(task: TaskName, select: str, of_sweep: bool = False) -> list[str]:
    """Return what is wrong with the `select` of a trial, or of a sweep, for its task, in lines."""
    choices = criteria(task) if of_sweep else (*criteria(task), "last")
    if select in choices:
        return []
    return [f"select = {select!r}: must be one of {', '.join(choices)}, because task = {task}"]


def classes_problem(task: TaskName, what: str) -> str:
    """Return why `what`, which needs probabilities of classes, cannot be for a task, or ""."""
    if task in WITH_CLASSES:
        return ""
    return f"{what} needs probabilities of classes: task = {' or '.join(WITH_CLASSES)}, not {task}"


def metric_of(name: str) -> Metric | None:
    """Return the metric that test_accuracy, initial_test_loss or plain auc is one of, or None."""
    return METRICS.get(_parts(name)[1])


def _parts(name: str) -> tuple[str, str]:
    """Return the words for the split before a metric's name, and that name."""
    words = name.split("_")
    count = 1 + (words[0] == "initial")
    if len(words) > count and words[count - 1] in SPLITS:
        return " ".join(words[:count]), "_".join(words[count:])
    return "", name


def metric_words(name: str) -> str:
    """Return what people read in the place of a column's name: 'test mAP at 0.5'."""
    split, own = _parts(name)
    metric = METRICS.get(own)
    return f"{split} {metric.words}".lstrip() if metric else name.replace("_", " ")


def more_is_better(name: str) -> bool:
    """Return whether a larger value of a metric is the better one, with or without its split."""
    return METRICS[_parts(name)[1]].more_is_better


def choosing_metric(criterion: Criterion) -> str:
    """Return the name of the metric that `criterion` is of the validation split."""
    return _parts(criterion)[1]


# Whether what selects is best when it is large or when it is small.
MODES: dict[Criterion, Literal["max", "min"]] = {
    one: "max" if more_is_better(one) else "min" for one in typing.get_args(Criterion)
}
