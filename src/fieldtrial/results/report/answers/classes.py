"""Confusion, accuracy and ROC curve of each class, from the stored test predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldtrial.results.read.predictions import StoredPredictions
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.estimates import estimate

ACCURACY = "test_accuracy"
FEWEST_IMAGES = 2  # of a class, for an interval
MOST_CURVES = 10  # of a row: the classes with the smallest area
MOST_POINTS = 200  # of a ROC curve
MOST_CLASSES = 200  # a larger matrix is not read by anybody


def class_row(runs: Sequence[StoredPredictions]) -> dict[str, Any] | None:
    """Return what the page draws for a row whose final runs these are; None: too many classes."""
    if len(runs[0].class_names) > MOST_CLASSES:
        return None
    return {**_drawn(_together(runs)), **_intervals(runs)}


def _together(runs: Sequence[StoredPredictions]) -> StoredPredictions:
    return StoredPredictions(
        np.concatenate([run.index for run in runs]),
        np.concatenate([run.label for run in runs]),
        np.concatenate([run.log_probability for run in runs]),
        runs[0].class_names,
    )


def _intervals(runs: Sequence[StoredPredictions]) -> dict[str, Any]:
    """Return the ends of each class's interval for new seeds and new images, or None."""
    order = np.argsort(runs[0].index)
    label, images = runs[0].label[order], runs[0].index[order]
    ordered = [np.argsort(run.index) for run in runs]
    if any(
        not np.array_equal(run.index[own], images) for run, own in zip(runs, ordered, strict=True)
    ):
        return {"interval": [None] * len(runs[0].class_names)}
    right = np.array(
        [run.predicted[own] == label for run, own in zip(runs, ordered, strict=True)], float
    )
    first = runs[0].log_probability[ordered[0]]
    alike = all(
        np.array_equal(run.log_probability[own], first)
        for run, own in zip(runs, ordered, strict=True)
    )
    if alike:
        right = right[:1]
    found: list[list[float] | None] = []
    for number in range(len(runs[0].class_names)):
        own = right[:, label == number]
        if own.shape[1] < FEWEST_IMAGES:
            found.append(None)
            continue
        repeated = len(runs) - len(right)
        of_class = estimate(
            Runs(own.mean(1), own, images[label == number], 1.0, repeated), ACCURACY
        )
        ends = (of_class.low, of_class.high)
        found.append([round(float(end), 4) for end in ends if end is not None] or None)
    return {"interval": found}


def _drawn(predictions: StoredPredictions) -> dict[str, Any]:
    confusion = predictions.confusion_matrix()
    accuracy = predictions.class_accuracy()
    areas = predictions.class_auc()
    curves = predictions.roc_curves()
    worst = [place for place in np.argsort(areas) if np.isfinite(areas[place])]
    return {
        "names": list(predictions.class_names),
        "images": len(predictions.label),
        "confusion": confusion.tolist(),
        "support": confusion.sum(1).tolist(),
        "accuracy": [None if np.isnan(share) else round(float(share), 5) for share in accuracy],
        "f1": [round(float(share), 5) for share in predictions.class_f1()],
        "classes_with_curve": len(worst),
        "roc": [
            {
                "name": predictions.class_names[place],
                "auc": round(float(areas[place]), 5),
                **_thin(*curves[place]),
            }
            for place in worst[:MOST_CURVES]
        ],
    }


def _thin(false: np.ndarray[Any, Any], true: np.ndarray[Any, Any]) -> dict[str, list[float]]:
    kept = np.unique(np.linspace(0, len(false) - 1, MOST_POINTS).round().astype(int))
    return {
        "false_positive": false[kept].round(4).tolist(),
        "true_positive": true[kept].round(4).tolist(),
    }
