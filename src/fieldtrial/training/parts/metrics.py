"""Own metrics."""

import math
import numbers
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.printable import counted
from fieldtrial.fields.task_metrics import METRICS
from fieldtrial.training.parts.part import Part, own_part
from fieldtrial.training.parts.saying import of_kind

TAKEN = (*METRICS, "images")  # what is called test_NAME in results already


class MetricPart(Protocol):
    """What says how good the answers for a split are: a function.

    An attribute `more_is_better` that is False says that small values are the good ones.
    """

    def __call__(
        self, outputs: NDArray[Any], targets: NDArray[Any], /, *_: Any, **options: Any
    ) -> float:
        """Return a number.

        Args:
            outputs: the answers for the split's images, float (n, ...): in classification, the
                probabilities of the classes, (n, classes).
            targets: what is right, (n, ...): in classification, labels, int64 (n,).
        """


def metric_name(part: str) -> str:
    """Return what a metric `package.module:name` is called in results: its name."""
    return part.rpartition(":")[2]


def own_metrics(
    config: TrainConfig, outputs: NDArray[Any], targets: NDArray[Any]
) -> dict[str, float]:
    """Return the values of the own metrics that `config` has, by `metric_name`.

    Raises:
        ConfigError: two have one name, or that of a metric of this package; one gave no finite
            number.
    """
    found = {}
    for part in parts_of(config):
        value = part(outputs, targets)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            gave = repr(value) if isinstance(value, numbers.Real) else of_kind(value)
            images = counted(len(targets), "image")
            raise part.refused(f"gave {gave} for {images}; must be a finite number")
        found[metric_name(part.name)] = float(value)
    return found


def try_metrics(config: TrainConfig, targets: NDArray[Any], classes: int) -> None:
    """Raise ConfigError as `own_metrics` does, before a trial.

    It is tried for answers that are all right and, of classes, for answers that are all the same.

    targets: of the validation images; `classes` is how many there are where these are labels.
    """
    if config.metrics:
        is_label = targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer)
        of_class = np.eye(classes, dtype=np.float32)
        tried = [of_class[targets], of_class[np.zeros_like(targets)]] if is_label else [targets]
        for outputs in tried:
            own_metrics(config, outputs.astype(np.float32), targets)


def small_is_better(config: TrainConfig) -> list[str]:
    """Return the names of the own metrics whose small values are the good ones."""
    parts = parts_of(config)
    return [metric_name(one.name) for one in parts if not getattr(one.call, "more_is_better", True)]


def parts_of(config: TrainConfig) -> list[Part]:
    """Return the own metrics. Raises ConfigError as `own_metrics` does."""
    names = [metric_name(one) for one in config.metrics]
    for part, name in zip(config.metrics, names, strict=True):
        if name in TAKEN or names.count(name) > 1:
            owner = "something else in results" if name in TAKEN else "another one"
            raise ConfigError([f"metrics = {part!r}: {owner} is called {name} too; rename one"])
    options = config.options_of("metrics")
    return [own_part("metrics", one, options) for one in config.metrics]
