"""Metrics of a classifier, from true labels and its scores of all classes: numpy arrays in, numbers
and arrays out.

`label` is int64 (n,), from 0 on; `score` is float (n, classes), a row for each image: the higher,
the more probable. Logarithms of probabilities are such scores. Probabilities themselves are as
well, but those of a sure classifier are rounded to 0 and 1, where they no longer rank.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Scores = NDArray[np.floating]
Values = NDArray[np.float64]
TOP = 5
BLOCK = 4096  # images at once, so that float64 takes little memory


def log_probabilities(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the logarithms of the softmax of `logits`, (n, classes), finite and at most 0.

    They are computed in float64. That of the most probable class is -log1p of what the others are
    beside it, so that they also tell sure answers apart, whose probabilities are rounded to 1: as
    float32, until its logit is more than 103 above the others.
    """
    found = np.empty(logits.shape, np.float32)
    for start in range(0, len(logits), BLOCK):
        part = logits[start : start + BLOCK].astype(np.float64)
        part -= part.max(1, keepdims=True)
        others = np.exp(part)
        others[np.arange(len(part)), part.argmax(1)] = 0
        part -= np.log1p(others.sum(1, keepdims=True))
        found[start : start + BLOCK] = part.clip(float(np.finfo(np.float32).min))
    return found


def accuracy(label: Labels, score: Scores) -> float:
    """Return the share of images whose most probable class is the true one."""
    return float((score.argmax(1) == label).mean())


def rank_of_true_class(label: Labels, score: Scores) -> NDArray[np.int64]:
    """Return how many classes are more probable than the true one, (n,).

    Of classes that are equally probable, the one with the lower number comes first.
    """
    own = score[np.arange(len(label)), label][:, None]
    earlier = np.arange(score.shape[1]) < label[:, None]
    before = (score > own) | ((score == own) & earlier)
    return np.asarray(before.sum(1), np.int64)


def top5_accuracy(label: Labels, score: Scores) -> float | None:
    """Return the share of images whose class is among the five most probable; None for five classes
    or fewer. Ties are broken as in `rank_of_true_class`.
    """
    if score.shape[1] <= TOP:
        return None
    return float((rank_of_true_class(label, score) < TOP).mean())


def wilson(
    share: float, count: float, quantile: float = NormalDist().inv_cdf(0.975)
) -> tuple[float, float]:
    """Return the interval of a share that was seen in `count` independent images.

    It is Wilson's score interval (E. B. Wilson, JASA 22, 1927), which stays within [0, 1]; by
    default of 95 %. quantile: of the normal distribution, or of Student's.
    """
    square = quantile**2 / count
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion_matrix(label: Labels, score: Scores) -> NDArray[np.int64]:
    """Return how many images of each class (rows) were taken for each class (columns): int64
    (classes, classes).
    """
    classes = score.shape[1]
    pairs = label * classes + score.argmax(1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def class_accuracy(label: Labels, score: Scores) -> Values:
    """Return the share of correct answers among the images of each class, (classes,); NaN for one
    without images.
    """
    counts = confusion_matrix(label, score)
    return ratio(np.diag(counts), counts.sum(1), of_nothing=np.nan)


def class_f1(label: Labels, score: Scores) -> Values:
    """Return each class's F1, the harmonic mean of precision and recall, (classes,); 0 for a class
    never right.
    """
    counts = confusion_matrix(label, score)
    return ratio(2 * np.diag(counts), counts.sum(0) + counts.sum(1), of_nothing=0.0)


def macro_f1(label: Labels, score: Scores) -> float:
    """Return the mean over the classes of `class_f1`."""
    return float(class_f1(label, score).mean())


def class_auc(label: Labels, score: Scores) -> Values:
    """Return the area under each class's one-vs-rest ROC curve, (classes,); NaN where one of the
    sides has no image.

    It is the chance that an image of the class gets a higher score of it than another image,
    half of it for equals (Hanley & McNeil 1982): one ranking does for the whole curve.
    """
    classes = score.shape[1]
    inside = np.bincount(label, minlength=classes)
    ranks = np.zeros(classes)  # sums over the class's images, of their mean ranks among all
    for number in np.flatnonzero(inside):
        ranked, own = np.sort(score[:, number]), score[label == number, number]
        first, last = (np.searchsorted(ranked, own, side) for side in ("left", "right"))
        ranks[number] = ((first + last + 1) / 2).sum()
    return ratio(
        ranks - inside * (inside + 1) / 2, inside * (len(label) - inside), of_nothing=np.nan
    )


def auc(label: Labels, score: Scores) -> float:
    """Return the mean over the classes of `class_auc`; classes of which there is no image, or no
    other, are left out.

    Raises:
        ValueError: all images are of one class.
    """
    areas = class_auc(label, score)
    if np.isnan(areas).all():
        raise ValueError("all images are of one class, so there is no ROC curve")
    return float(np.nanmean(areas))


def roc_curves(label: Labels, score: Scores) -> list[tuple[Values, Values]]:
    """Return each class's one-vs-rest ROC curve: false and true positive rates, both rising from 0
    to 1.

    The arrays are empty for a class of which there is no image, or no other.
    """
    from sklearn.metrics import roc_curve

    curves = []
    for number in range(score.shape[1]):
        own = label == number
        false, true = (
            roc_curve(own, score[:, number])[:2] if 0 < own.sum() < len(own) else (np.empty(0),) * 2
        )
        curves.append((false, true))
    return curves


def log_loss(label: Labels, log_probability: Scores) -> float:
    """Return the mean of -ln(probability of the true class): cross-entropy."""
    return float(-log_probability[np.arange(len(label)), label].mean(dtype=np.float64))


def summary(label: Labels, score: Scores) -> dict[str, float]:
    """Return accuracy, macro_f1 and auc and, with more than five classes, top5_accuracy."""
    top5 = top5_accuracy(label, score)
    return {
        "accuracy": accuracy(label, score),
        **({} if top5 is None else {"top5_accuracy": top5}),
        "macro_f1": macro_f1(label, score),
        "auc": auc(label, score),
    }


def ratio(part: NDArray[np.number], whole: NDArray[np.number], of_nothing: float) -> Values:
    """Return part / whole, and `of_nothing` where `whole` is 0."""
    found = np.full(len(part), of_nothing)
    np.divide(part, whole, out=found, where=whole != 0)
    return found
