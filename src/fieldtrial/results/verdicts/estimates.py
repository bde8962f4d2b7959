"""A row's mean with the interval that holds for new seeds and new images."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from fieldtrial import metrics
from fieldtrial.fields.scores import is_share
from fieldtrial.fields.task_metrics import metric_of
from fieldtrial.results.verdicts.crossed import Runs, contrasts_of, family_of

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A row's mean and its interval, in the metric's unit.

    low, high: ends of the 95 % interval of the row alone; None where there are too few runs.
    seeds, images: half-widths of the intervals for new seeds on these images, and for new images
        with these seeds; images is None where scores on images are missing.
    runs: runs, or searches of the row, whose runs are averaged, if `of_searches`.
    repeated: further runs, if all gave the same answers and so count as one.
    folds: whether the runs are of one fold each; `seeds` is then for other folds, with other images
        to train and to test on.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: float | None
    images: float | None
    runs: int
    repeated: int
    of_searches: bool = False
    folds: bool = False


def estimate(row: Runs, metric: str) -> Interval:
    """Return the mean of a row's runs and its interval, from these runs alone.

    The interval of a share is E. B. Wilson's (Journal of the American Statistical Association 22,
    1927), with the number of images that would give the same variance by themselves (as E. L. Korn
    and B. I. Graubard have it for surveys, Survey Methodology 24, 1998), so that it stays within 0
    and 1. A loss, or an error in a unit, has its interval on the scale of logarithms.
    """
    mean, has_folds = float(row.values.mean()), row.folds is not None
    counts = len(row.values), row.repeated, row.of_searches, has_folds
    if not row.suffices:
        return Interval(mean, None, None, None, None, *counts)
    family = family_of([row])
    sums = contrasts_of(family, np.ones((1, 1)), are_differences=False)
    quantile = _quantile(sums.freedom[0])
    images, seeds = float(sums.images[0]), float(sums.seeds[0])
    low, high = _ends(metric, mean, images + seeds, quantile, row)
    by_seeds = _quantile(family.freedom[0]) * math.sqrt(family.spread[0] / family.worth[0])
    by_images = None
    if row.scores is not None:
        of_images = _quantile(row.scores.shape[1] - 1)
        ends = _ends(metric, mean, images, of_images, row)
        by_images = of_images * math.sqrt(images) if images else max(abs(mean - e) for e in ends)
    return Interval(mean, low, high, by_seeds, by_images, *counts)


def _quantile(freedom: float) -> float:
    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _ends(
    metric: str, mean: float, variance: float, quantile: float, row: Runs
) -> tuple[float, float]:
    error = math.sqrt(variance)
    known = metric_of(metric)
    if (metric.endswith("loss") or (known and known.in_units)) and mean > 0:
        factor = math.exp(quantile * error / mean)
        return mean / factor, mean * factor
    low, high = mean - quantile * error, mean + quantile * error
    if metric.endswith("auc"):
        return max(0.0, low), min(1.0, high)
    if metric.endswith("r2"):
        return low, min(1.0, high)
    if not is_share(metric):
        return low, high
    if variance > 0 and 0 < mean < 1:
        count = mean * (1 - mean) / variance
    elif row.scores is not None:
        count = row.scores.shape[1]
        quantile = _quantile(count)
    elif row.step:
        count = 1 / row.step
    else:
        return mean, mean
    return metrics.wilson(mean, count, quantile)
