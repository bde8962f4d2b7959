"""The scores that images have of their own, for each kind of answers and each metric."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fieldtrial.metrics import Values
from fieldtrial.metrics_of.labels import Logits, Truth, cross_entropy
from fieldtrial.results.read.answers import StoredLabels, StoredNumbers
from fieldtrial.results.read.predictions import StoredPredictions
from fieldtrial.results.verdicts.image_scores import SCORES
from fieldtrial.results.verdicts.label_scores import (
    macro_f1_pseudo_values,
    map_pseudo_values,
    micro_f1_pseudo_values,
)
from fieldtrial.results.verdicts.number_scores import (
    absolute_error,
    r2_pseudo_values,
    rmse_pseudo_values,
)

Scored = Mapping[str, tuple[Callable[[Any], Values], float]]


def _of_classes(name: str) -> tuple[Callable[[StoredPredictions], Values], float]:
    score, unit = SCORES[name]
    return lambda made: score(made.label, made.log_probability), unit


def _of_labels(
    score: Callable[[Truth, Logits], Values], unit: float
) -> tuple[Callable[[StoredLabels], Values], float]:
    return lambda made: score(made.truth, made.logit), unit


def _of_numbers(
    score: Callable[[Values, Values], Values],
) -> tuple[Callable[[StoredNumbers], Values], float]:
    return lambda made: score(made.target, made.value), 0.0


def _squared_error(made: StoredNumbers) -> Values:
    return np.square((made.value - made.target) / made.deviation)


# Metric without its split -> from answers to what they score on each image, and the unit of SCORES.
KINDS: Mapping[type[Any], Scored] = {
    StoredPredictions: {name: _of_classes(name) for name in SCORES},
    StoredLabels: {
        "map": _of_labels(map_pseudo_values, 1.0),
        "macro_f1": _of_labels(macro_f1_pseudo_values, 1.0),
        "micro_f1": _of_labels(micro_f1_pseudo_values, 1.0),
        "loss": _of_labels(cross_entropy, 0.0),
    },
    StoredNumbers: {
        "mae": _of_numbers(absolute_error),
        "rmse": _of_numbers(rmse_pseudo_values),
        "r2": _of_numbers(r2_pseudo_values),
        "loss": (_squared_error, 0.0),
    },
}
