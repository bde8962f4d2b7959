"""Metrics of multi-label classification: numpy arrays in, numbers and arrays out.

`truth` is (n, labels), 1 where an image has a label, else 0. `logit` is float (n, labels): the
logarithm of the odds that it has; above 0, it is more likely to have the label than not.
"""

import numpy as np
from numpy.typing import NDArray

from fieldtrial.metrics import Values, ratio

Truth = NDArray[np.uint8]
Logits = NDArray[np.floating]


def cross_entropy(truth: Truth, logit: Logits) -> Values:
    """Return the binary cross-entropy of each image, summed over the labels, (n,)."""
    wide = logit.astype(np.float64)
    losses: Values = (np.logaddexp(0, wide) - wide * truth).sum(1)
    return losses


def label_average_precision(truth: Truth, logit: Logits) -> Values:
    """Return the average precision of each label, (labels,); NaN for one that no image has.

    Images are ranked by the label's logit. It is the mean, over the images that have the label, of
    the share of such images among those that are ranked as high or higher; equals have one rank. So
    it is in scikit-learn's average_precision_score.
    """
    found = np.full(truth.shape[1], np.nan)
    for number in np.flatnonzero(truth.any(0)):
        ranks = Ranks.of(truth[:, number], logit[:, number])
        found[number] = (ranks.own * ranks.right / ranks.upto).sum() / ranks.right[-1]
    return found


def mean_average_precision(truth: Truth, logit: Logits) -> float:
    """Return the mean of `label_average_precision` over the labels that an image has; NaN where no
    image has any.
    """
    every = label_average_precision(truth, logit)
    return float(np.nanmean(every)) if truth.any() else float("nan")


def label_f1(truth: Truth, logit: Logits) -> Values:
    """Return each label's F1, (labels,): the harmonic mean of precision and recall where a
    probability above 0.5 counts as the label; 0 for one never right.
    """
    right, total = f1_parts(truth, logit)
    return ratio(2 * right.sum(0), total.sum(0), of_nothing=0.0)


def macro_f1(truth: Truth, logit: Logits) -> float:
    """Return the mean of `label_f1`."""
    return float(label_f1(truth, logit).mean())


def micro_f1(truth: Truth, logit: Logits) -> float:
    """Return the F1 of all labels together, as if they were one."""
    right, total = f1_parts(truth, logit)
    return float(2 * right.sum() / max(1, total.sum()))


def f1_parts(truth: Truth, logit: Logits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what F1 is made of, for each image and label, int64 (n, labels) each.

    The first is 1 where the label is there and found. The second counts whether it is there, and
    whether it is found. F1 is twice the sum of the first over the sum of the second.
    """
    there, seen = truth.astype(np.int64), (logit > 0).astype(np.int64)
    return there * seen, there + seen


def summary(truth: Truth, logit: Logits) -> dict[str, float]:
    """Return map, macro_f1 and micro_f1."""
    return {
        "map": mean_average_precision(truth, logit),
        "macro_f1": macro_f1(truth, logit),
        "micro_f1": micro_f1(truth, logit),
    }


class Ranks:
    """The images of a label in ranks: those of one logit share a rank, the highest comes first.

    Attributes:
        rank: of each image, int64 (n,), from 0 on.
        own: how many images of a rank have the label, float64 (ranks,).
        right, upto: how many images of this rank and higher ones have it, and how many there are.
    """

    def __init__(self, rank: NDArray[np.int64], own: Values, right: Values, upto: Values) -> None:
        self.rank, self.own, self.right, self.upto = rank, own, right, upto

    @classmethod
    def of(cls, truth: Truth, logit: Logits) -> "Ranks":
        """Return the ranks of images with these truths and logits, (n,) each."""
        values, rising = np.unique(logit, return_inverse=True)
        rank = len(values) - 1 - rising.astype(np.int64)
        own = np.bincount(rank, weights=truth, minlength=len(values))
        every = np.bincount(rank, minlength=len(values)).astype(np.float64)
        return cls(rank, own.astype(np.float64), own.cumsum(), every.cumsum())
