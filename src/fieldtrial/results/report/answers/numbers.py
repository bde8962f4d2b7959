"""Predicted against true numbers, from the stored test predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldtrial.metrics import Values
from fieldtrial.results.read.answers import StoredNumbers

MOST_POINTS = 2000  # in a figure
DIGITS = 6  # significant ones, of a number in the page


def number_row(runs: Sequence[StoredNumbers]) -> dict[str, Any]:
    """Return what the page draws for a row whose final runs these are.

    Of very many predictions, some are drawn, evenly spread over the true numbers.
    """
    target = np.concatenate([run.target for run in runs])
    value = np.concatenate([run.value for run in runs])
    order = np.argsort(target, kind="stable")
    places = np.linspace(0, len(order) - 1, min(MOST_POINTS, len(order))).round().astype(int)
    shown = order[places]
    summaries = [run.summary() for run in runs]
    return {
        "name": runs[0].class_names[0],
        "images": len(runs[0].index),
        "predictions": len(target),
        "target": _short(target[shown]),
        "value": _short(value[shown]),
        **{
            name: float(f"{np.mean([one[name] for one in summaries]):.4g}") for name in summaries[0]
        },
    }


def _short(values: Values) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
