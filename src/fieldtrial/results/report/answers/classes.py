"""Confusion, accuracy and ROC curve of each class, from the stored test predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldtrial.results.read.predictions import StoredPredictions
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.folds import Folds

ACCURACY = "test_accuracy"
FEWEST_IMAGES = 2  # of a class, for an interval
MOST_CURVES = 10  # of a row: the classes with the smallest area
MOST_POINTS = 200  # of a ROC curve
MOST_CLASSES = 200  # a larger matrix is not read by anybody


def class_row(runs: Sequence[StoredPredictions]) -> dict[str, Any] | None:
    """Return what the page draws for a row whose final runs these are; None: too many classes."""
    if len(runs[0].class_names) > MOST_CLASSES:
        return None
    images = np.concatenate([run.index for run in runs])
    are_folds = len(runs) > 1 and len(np.unique(images)) == len(images)
    intervals = _intervals_of_folds(runs) if are_folds else _intervals(runs)
    return {**_drawn(_together(runs)), **intervals}


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
        found.append(_ends(Runs(own.mean(1), own, images[label == number], 1.0, repeated)))
    return {"interval": found}


def _intervals_of_folds(runs: Sequence[StoredPredictions]) -> dict[str, Any]:
    """Return the same for runs of one fold each, where all of these have images of the class."""
    names, folds = runs[0].class_names, len(runs)
    together = _together(runs)
    order = np.argsort(together.index)
    fold = np.repeat(np.arange(folds), [len(run.index) for run in runs])[order]
    label, images = together.label[order], together.index[order]
    right = np.asarray(together.predicted[order] == label, float)
    found: list[list[float] | None] = []
    for number in range(len(names)):
        own = label == number
        counts = np.bincount(fold[own], minlength=folds)
        if not counts.all():
            found.append(None)
            continue
        of_class = Runs(
            np.bincount(fold[own], right[own]) / counts,
            right[None, own],
            images[own],
            1.0,
            folds=Folds(np.arange(folds), folds, fold[own]),
        )
        found.append(_ends(of_class))
    return {"interval": found}


def _ends(of_class: Runs) -> list[float] | None:
    """Return the ends of a class's interval, None where there are too few runs."""
    interval = estimate(of_class, ACCURACY)
    ends = (interval.low, interval.high)
    return [round(float(end), 4) for end in ends if end is not None] or None


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
