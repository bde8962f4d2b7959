"""What a run scored on each image: the numbers whose mean is a metric, or nearly so."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fieldtrial import metrics
from fieldtrial.metrics import Labels, Scores, Values

Score = Callable[[Labels, Scores], Values]


def correct(label: Labels, score: Scores) -> Values:
    """Return 1 for each image whose most probable class is the true one, else 0, (n,)."""
    return np.asarray(score.argmax(1) == label, float)


def among_top5(label: Labels, score: Scores) -> Values:
    """Return 1 for each image whose class is among the five most probable, else 0, (n,)."""
    return np.asarray(metrics.rank_of_true_class(label, score) < metrics.TOP, float)


def cross_entropy(label: Labels, log_probability: Scores) -> Values:
    """Return -ln(probability of the true class) of each image, (n,)."""
    return np.asarray(-log_probability[np.arange(len(label)), label], float)


def f1_pseudo_values(label: Labels, score: Scores) -> Values:
    """Return the jackknife's pseudo-values of macro-F1, (n,).

    They are n F - (n - 1) F', where F' is macro-F1 without the image. Images of one true and one
    predicted class have one pseudo-value.
    """
    counts = metrics.confusion_matrix(label, score).astype(float)
    right, total = np.diag(counts), counts.sum(0) + counts.sum(1)
    scores = metrics.ratio(2 * right, total, of_nothing=0.0)
    n, classes = len(label), len(counts)
    less_one = (
        metrics.ratio(2 * right, total - 1, of_nothing=0.0) - scores
    )  # without an image that the class has wrong
    less_right = metrics.ratio(2 * (right - 1), total - 2, of_nothing=0.0) - scores
    change = less_one[:, None] + less_one[None, :]
    np.fill_diagonal(change, less_right)
    without = scores.mean() + change / classes
    pseudo = n * scores.mean() - (n - 1) * without
    values: Values = pseudo[label, score.argmax(1)]
    return values


def auc_pseudo_values(label: Labels, score: Scores) -> Values:
    """Return the jackknife's pseudo-values of the mean one-vs-rest AUC, (n,).

    Without an image, the area of a class is known from the share of the other side's images that
    it is ranked right against (E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44,
    1988: the placement values).

    Raises:
        ValueError: all images are of one class.
    """
    n, classes = score.shape
    total, areas = np.zeros(n), np.zeros(n)  # of the areas without each image, and their number
    own_sum, own_count = 0.0, 0
    for number in range(classes):
        inside = label == number
        positives, negatives = int(inside.sum()), int((~inside).sum())
        if not positives or not negatives:
            continue
        values = score[:, number]
        placement = _placements(values, inside)
        area = float(placement[inside].mean())
        own_sum, own_count = own_sum + area, own_count + 1
        for side, count in ((inside, positives), (~inside, negatives)):
            if count > 1:
                total[side] += (count * area - placement[side]) / (count - 1)
                areas[side] += 1
    if not own_count:
        raise ValueError("all images are of one class, so there is no ROC curve")
    mean = own_sum / own_count
    without = np.where(areas > 0, total / np.maximum(areas, 1), mean)
    pseudo: Values = n * mean - (n - 1) * without
    return pseudo


def _placements(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> Values:
    """Return, for each image, the share of the other side that it is ranked right against."""
    placed = np.empty(len(values))
    for side, sign in ((inside, 1), (~inside, -1)):
        others = np.sort(sign * values[~side])
        own = sign * values[side]
        below, upto = (np.searchsorted(others, own, which) for which in ("left", "right"))
        placed[side] = (below + upto) / 2 / len(others)
    return placed


# metric without its split -> what its runs score on each image, and what one image is worth
SCORES: dict[str, tuple[Score, float]] = {
    "accuracy": (correct, 1.0),
    "top5_accuracy": (among_top5, 1.0),
    "macro_f1": (f1_pseudo_values, 1.0),
    "auc": (auc_pseudo_values, 1.0),
    "loss": (cross_entropy, 0.0),
}
