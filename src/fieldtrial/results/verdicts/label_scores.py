"""What a run of task multilabel scored on each image; see `image_scores`."""

import numpy as np

from fieldtrial.metrics import Values, ratio
from fieldtrial.metrics_of.labels import (
    Logits,
    Ranks,
    Truth,
    f1_parts,
    macro_f1,
    mean_average_precision,
    micro_f1,
)


def macro_f1_pseudo_values(truth: Truth, logit: Logits) -> Values:
    """Return the jackknife's pseudo-values of macro-F1, (n,): n F - (n - 1) F without the image."""
    right, total = f1_parts(truth, logit)
    rest = 2 * (right.sum(0) - right), total.sum(0) - total
    without = np.divide(*rest, out=np.zeros(truth.shape), where=rest[1] > 0).mean(1)
    return pseudo_values(macro_f1(truth, logit), without)


def micro_f1_pseudo_values(truth: Truth, logit: Logits) -> Values:
    """Return the jackknife's pseudo-values of micro-F1, (n,)."""
    right, total = (part.sum(1) for part in f1_parts(truth, logit))
    without = ratio(2 * (right.sum() - right), total.sum() - total, of_nothing=0.0)
    return pseudo_values(micro_f1(truth, logit), without)


def map_pseudo_values(truth: Truth, logit: Logits) -> Values:
    """Return the jackknife's pseudo-values of the mean average precision, (n,).

    A label that no other image has is left out where its image is.
    """
    total, labels = np.zeros(len(truth)), np.zeros(len(truth))
    for number in np.flatnonzero(truth.any(0)):
        own = average_precision_without(truth[:, number], logit[:, number])
        known = np.isfinite(own)
        total[known] += own[known]
        labels += known
    whole = mean_average_precision(truth, logit)
    return pseudo_values(whole, np.where(labels > 0, total / np.maximum(labels, 1), whole))


def average_precision_without(truth: Truth, logit: Logits) -> Values:
    """Return a label's average precision without each image, (n,); NaN without its only one.

    truth, logit: of the label, (n,). Without an image of some rank, the terms of higher ranks stay,
    and in those of its own and of lower ranks there is one image less.
    """
    ranks = Ranks.of(truth, logit)
    rank, own, right, upto = ranks.rank, ranks.own, ranks.right, ranks.upto
    terms = own * right / upto
    before = (terms.cumsum() - terms)[rank]
    found = np.empty(len(truth))
    for is_there in (False, True):
        chosen = truth.astype(bool) == is_there
        lower = own * (right - is_there) / np.maximum(upto - 1, 1)
        behind = (lower[::-1].cumsum()[::-1] - lower)[rank]
        here = ((own - is_there) * (right - is_there) / np.maximum(upto - 1, 1))[rank]
        left = right[-1] - is_there
        sums = (before + here + behind)[chosen]
        found[chosen] = sums / left if left else np.nan
    return found


def pseudo_values(whole: float, without: Values) -> Values:
    """Return the jackknife's pseudo-values, (n,): n times the whole less n - 1 times the rest.

    whole: a metric of n images. without: the same without each of them, (n,).
    """
    count = len(without)
    values: Values = count * whole - (count - 1) * without
    return values
