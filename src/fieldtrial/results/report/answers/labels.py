"""Average precision, F1, precision and recall of each label, from the stored test predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fieldtrial.metrics import Values, ratio
from fieldtrial.metrics_of.labels import f1_parts
from fieldtrial.results.read.answers import StoredLabels
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.label_scores import average_precision_without, pseudo_values

METRIC = "test_map"  # whose intervals those of a label are like
MOST_LABELS = 200  # a longer table is not read by anybody
FEWEST_IMAGES = 2  # with a label, for an interval
DIGITS = 5


def label_row(runs: Sequence[StoredLabels]) -> dict[str, Any] | None:
    """Return what the page draws for a row whose final runs these are; None: too many labels.

    Shares are means over the runs; None where no image has, or is given, the label.
    """
    if len(runs[0].class_names) > MOST_LABELS:
        return None
    ordered = [run.take(np.argsort(run.index)) for run in runs]
    parts = [_shares(run) for run in ordered]
    return {
        "names": list(runs[0].class_names),
        "images": len(runs[0].index),
        "support": ordered[0].truth.sum(0, dtype=int).tolist(),
        **{name: _rounded(np.mean([one[name] for one in parts], axis=0)) for name in parts[0]},
        "interval": _intervals(ordered, np.array([one["ap"] for one in parts])),
    }


def _shares(run: StoredLabels) -> dict[str, Values]:
    """Return the shares of each label, (labels,); NaN where there is none."""
    right, total = (part.sum(0) for part in f1_parts(run.truth, run.logit))
    there = run.truth.sum(0, dtype=int)
    precision = ratio(right, total - there, of_nothing=np.nan)
    return {**run.by_class(), "precision": precision, "recall": ratio(right, there, np.nan)}


def _intervals(runs: Sequence[StoredLabels], values: Values) -> list[list[float] | None]:
    """Return the ends of each label's interval of average precision for new seeds and new images.

    values: the average precisions, (runs, labels).
    """
    index, truth = runs[0].index, runs[0].truth
    if any(not np.array_equal(run.index, index) for run in runs):
        return [None] * truth.shape[1]
    alike = all(np.array_equal(run.logit, runs[0].logit) for run in runs)
    own = runs[:1] if alike else runs
    found: list[list[float] | None] = []
    for number in range(truth.shape[1]):
        if truth[:, number].sum() < FEWEST_IMAGES:
            found.append(None)
            continue
        mean = values[: len(own), number]
        scores = np.stack(
            [_scores(run, number, value) for run, value in zip(own, mean, strict=True)]
        )
        of_label = estimate(Runs(mean, scores, index, 1.0, len(runs) - len(own)), METRIC)
        ends = (of_label.low, of_label.high)
        found.append([round(float(end), DIGITS) for end in ends if end is not None] or None)
    return found


def _scores(run: StoredLabels, number: int, value: float) -> Values:
    """Return the pseudo-values of a label's average precision, with `value` as their mean."""
    without = average_precision_without(run.truth[:, number], run.logit[:, number])
    scores: Values = pseudo_values(value, without)
    scores += value - scores.mean()
    return scores


def _rounded(values: Values) -> list[float | None]:
    return [None if np.isnan(one) else round(float(one), DIGITS) for one in values]
