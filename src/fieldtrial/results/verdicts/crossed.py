"""Seeds and images as two crossed random factors: what would hold for new seeds and new images.

The runs of a row (its seeds) have all scored the same images. Somebody who repeats the comparison
draws new seeds and new images, and a row's mean varies with both. Studies in which several readers
read the same cases in several modalities are analysed so: seeds are the readers, images the cases,
rows the modalities.

x_ijk is what run j of row i scores on image k, for J_i runs and K images. The row means x_i have
the covariance matrix

    V_ih = cov_k(x_i.k, x_h.k) / K  +  [i = h] max(0, s_i² - m_i / K) / J_i

s_i² is the variance of the runs' means. m_i is the mean square of the interaction of runs and
images in row i. The first term holds what new images change, with what a seed changes on each image
by itself. The second holds what a seed changes on all images together. Seeds are nested in rows:
equal seed numbers do not make the trainings of two rows alike. Where runs were tested on one fold
each, the second is as `verdicts.folds` has it.

Sources: D. D. Dorfman, K. S. Berbaum, C. E. Metz, "Receiver operating characteristic rating
analysis: generalization to the population of readers and patients with the jackknife method",
Investigative Radiology 27, 1992. N. A. Obuchowski, H. E. Rockette, "Hypothesis testing of
diagnostic accuracy for multiple readers and multiple tests: an ANOVA approach with dependent
observations", Communications in Statistics - Simulation and Computation 24, 1995. S. L. Hillis, "A
comparison of denominator degrees of freedom methods for multiple observer ROC analysis",
Statistics in Medicine 26, 2007.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldtrial.results.verdicts.folds import CHUNK, FoldMeans, Folds

Values = NDArray[np.float64]
FEWEST = 3  # runs that a comparison needs: two say next to nothing of a seed's luck
MOST_PRIOR_FREEDOM = 4.0  # see `_moderated`
# Of images of which none, or hardly any, tells two rows apart: an interval is then about as wide as
# the largest share of such images that may have been missed.
LEAST_FREEDOM = 5.0
CAUTION = 0.8  # of Satterthwaite's degrees of freedom: those of few runs are too many on average


@dataclass(frozen=True, eq=False)
class Runs:
    """What the runs of a row scored; one of them, if all gave the same answers.

    values: the metric of each run, (runs,).
    scores: of each run on each image, (runs, images), with the run's value as their mean; None
        where predictions are missing. For a metric that is no mean, they are pseudo-values.
    images: the number of each image, (images,), rising; None without scores.
    unit: what one image more or less right changes in K times the metric; 0 where nothing is
        counted.
    repeated: how many further runs gave the same answers as the one.
    of_searches: whether each is the mean over the runs of one search of the row.
    step: in which the values are counted, such as one of the images; 0 where that is not known.
    folds: that the runs tested, one each; None where all tested the same images. With folds, scores
        are (1, images), of all folds together.
    """

    values: Values
    scores: Values | None = None
    images: NDArray[np.int64] | None = None
    unit: float = 0.0
    repeated: int = 0
    step: float = 0.0
    of_searches: bool = False
    folds: Folds | None = None

    @property
    def is_deterministic(self) -> bool:
        """Whether seeds change nothing: all runs were identical, and there were several."""
        return len(self.values) == 1 and self.repeated > 0

    @property
    def suffices(self) -> bool:
        """Whether there are enough runs to tell what a seed changes."""
        if self.is_deterministic:
            return self.scores is not None  # else nothing is known of what it varies with
        if self.folds and not self.folds.are_all:
            return False
        return len(self.values) >= FEWEST


@dataclass(frozen=True, eq=False)
class Family:
    """Rows that are compared together: their means, and what new images and new seeds change.

    Each array has a value for each row.

    means: of the metric over the row's runs. runs: how many there are.
    images: the covariance matrix of the means through new images, (rows, rows).
    spread: the variance of one run's value through new seeds, on these images.
    freedom: the degrees of freedom that `spread` is known with.
    floor: the part of `spread` that comes from the images one by one. For the mean of a row's runs
        it is in `images` already.
    profiles: for each set of images, the rows that scored it and their mean scores, (rows, images).
    units: see `Runs`.
    worth: how many independent runs a row's are worth: fewer than there are where they share images
        to train on. `spread` over it is the variance of the mean.
    folds: what the rows scored in each fold; None without folds.
    """

    means: Values
    runs: Values
    images: Values
    spread: Values
    freedom: Values
    floor: Values
    profiles: list[tuple[NDArray[np.int64], Values]]
    units: Values
    worth: Values
    folds: FoldMeans | None = None

    @property
    def seeds(self) -> Values:
        """The variance of each mean through what a seed changes on all images together."""
        return (self.spread - self.floor) / self.worth


def family_of(rows: Sequence[Runs]) -> Family:
    """Return the family of rows, each with runs enough (see `Runs.suffices`).

    All rows were tested on folds, or none was.
    """
    count = len(rows)
    sets: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        if row.images is not None:
            sets.setdefault(row.images.tobytes(), []).append(place)
    images, profiles = np.zeros((count, count)), []
    for places in sets.values():
        own = np.array(places)
        profile = np.stack([_scores(rows[place]).mean(0) for place in places])
        profiles.append((own, profile))
        images[np.ix_(own, own)] = np.cov(profile).reshape(len(own), -1) / profile.shape[1]
    runs = np.array([len(row.values) for row in rows], float)
    folds = _fold_means(rows, profiles) if rows[0].folds else None
    spread, floor, freedom = folds.of_rows() if folds else _from_seed_to_seed(rows)
    return Family(
        means=np.array([row.values.mean() for row in rows]),
        runs=runs,
        images=images,
        spread=spread,
        freedom=freedom,
        floor=floor,
        profiles=profiles,
        units=np.array([row.unit for row in rows]),
        worth=np.full(count, 1 / folds.factor) if folds else runs,
        folds=folds,
    )


def _from_seed_to_seed(rows: Sequence[Runs]) -> tuple[Values, Values, Values]:
    """Return `spread`, `floor` and `freedom` of a family."""
    count = len(rows)
    variance, floor = np.zeros(count), np.zeros(count)
    freedom = np.full(count, math.inf)
    for place, row in enumerate(rows):
        if row.is_deterministic:
            continue
        # Equal values are known to a step only: W. F. Sheppard's correction, Proceedings of the
        # London Mathematical Society 29, 1898.
        variance[place] = max(row.values.var(ddof=1), row.step**2 / 12)
        freedom[place] = len(row.values) - 1
        if row.scores is not None:
            floor[place] = _interaction(row.scores) / row.scores.shape[1]
    spread, freedom = _moderated(variance, floor, freedom)
    return spread, floor, freedom


def _fold_means(
    rows: Sequence[Runs], profiles: Sequence[tuple[NDArray[np.int64], Values]]
) -> FoldMeans:
    sets = []
    for own, profile in profiles:
        folds = rows[own[0]].folds
        assert folds is not None
        assert folds.of_image is not None
        sets.append((own, profile, folds.of_image))
    values, steps = (np.array([getattr(row, name) for row in rows]) for name in ("values", "step"))
    return FoldMeans(values, steps, sets, _prior(len(rows)))


def _scores(row: Runs) -> Values:
    assert row.scores is not None
    return row.scores


def _interaction(scores: Values) -> float:
    """Return the mean square of the interaction of runs and images in `scores` (runs, images)."""
    left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    runs, images = scores.shape
    return float((left**2).sum() / ((runs - 1) * max(1, images - 1)))


def _moderated(variance: Values, floor: Values, freedom: Values) -> tuple[Values, Values]:
    """Return the variances of a run's value in each row, with strength borrowed from the others.

    A row of three runs knows its variance with two degrees of freedom. The rows' common level adds
    up to MOST_PRIOR_FREEDOM, in the way of G. K. Smyth ("Linear models and empirical Bayes methods
    for assessing differential expression in microarray experiments", Statistical Applications in
    Genetics and Molecular Biology 3, 2004). His own estimate of the prior's degrees of freedom is
    often infinite for a few rows with two degrees each, and there are then more false alarms than
    agreed where rows differ in spread (benchmarks/verdicts.py). Up to four rows borrow nothing.
    Where runs have scores, the common level is that of the ratio to `floor`.

    variance, floor: (rows,). freedom: infinite for rows whose variance is known to be 0.
    """
    found, known = variance.copy(), freedom.copy()
    for own in (np.isfinite(freedom) & (floor > 0), np.isfinite(freedom) & (floor <= 0)):
        count = int(own.sum())
        if not count:
            continue
        unit = np.where(floor[own] > 0, floor[own], 1.0)
        ratio, prior = variance[own] / unit, _prior(count)
        level = np.average(ratio, weights=freedom[own])
        known[own] = freedom[own] + prior
        found[own] = (prior * level + freedom[own] * ratio) / known[own] * unit
    return np.maximum(found, floor), known


def _prior(rows: int) -> float:
    """Return the degrees of freedom that the common level of so many rows adds."""
    return MOST_PRIOR_FREEDOM * max(0, rows - 4) / rows


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Weighted sums of row means that are judged together, a value of each array for each.

    sums: of the means. images, seeds: their variances through new images and through new seeds.
    freedom: degrees of freedom of the whole variance. single: the variance of such a sum of single
    runs instead of means, on as many new images. correlation: (contrasts, contrasts).
    """

    sums: Values
    images: Values
    seeds: Values
    freedom: Values
    single: Values
    correlation: Values

    @property
    def errors(self) -> Values:
        """The standard errors."""
        return np.sqrt(self.images + self.seeds)


def contrasts_of(family: Family, weights: Values, are_differences: bool = True) -> Contrasts:
    """Return the contrasts of the rows; weights: (contrasts, rows).

    Where images are counted, the variance of differences through images is that with two more
    images, half of one in favour and half of one against, so that rows that differ on no image are
    not certain to be equal (A. Agresti, Y. Min, "Simple improved confidence intervals for comparing
    matched proportions", Statistics in Medicine 24, 2005). It has the degrees of freedom of a
    variance of numbers with the kurtosis that was seen: a few images on which rows differ say less
    than as many normal numbers.
    """
    images, doubt = np.zeros(len(weights)), np.zeros(len(weights))
    for rows, profile in family.profiles:
        own = weights[:, rows]
        unit = np.abs(own * family.units[rows]).max(1) * are_differences
        step = max(1, CHUNK // profile.shape[1])
        for first in range(0, len(own), step):
            part = slice(first, first + step)
            variance, freedom = _of_images(own[part] @ profile, unit[part])
            freedom = freedom if are_differences else np.full(len(freedom), profile.shape[1] - 1.0)
            images[part] += variance
            doubt[part] += variance**2 / freedom
    seeds, further, of_seeds, known = _of_seeds(family, weights)
    doubt += of_seeds
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(doubt > 0, (images + seeds) ** 2 / doubt, np.inf)
    # A sum is known at least as well as the part that is known least.
    freedom = np.maximum(freedom, np.minimum(known, LEAST_FREEDOM))
    is_mixed = are_differences | (images > 0)  # else it is one variance, with exact degrees
    covariance = weights @ (family.images + np.diag(family.seeds)) @ weights.T
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    correlation = np.clip(covariance / np.outer(scale, scale), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return Contrasts(
        sums=weights @ family.means,
        images=images,
        seeds=seeds,
        freedom=np.maximum(np.where(is_mixed, CAUTION * freedom, freedom), 1.0),
        single=images + further,
        correlation=correlation,
    )


def _of_seeds(family: Family, weights: Values) -> tuple[Values, Values, Values, Values]:
    """Return what trainings change in weighted sums of rows, a value of each for each sum.

    They are the variance of the sum of means, that of a sum of single runs, what the former adds to
    the doubt about the whole variance, and the degrees of freedom that it is known with.

    That a seed moves nothing on all images together is as doubtful as that it moves a lot.
    """
    if family.folds:
        variance, floor, known = family.folds.of(weights)
        factor, count = family.folds.factor, family.folds.values.shape[1]
        seeds = factor * (variance - floor)
        # Trainings that share images are alike: by as much, their variance is too small.
        further = (variance - floor) * count / (count - 1)
        return seeds, further, (factor * variance) ** 2 / known, known
    squares = weights**2
    return (
        squares @ family.seeds,
        squares @ (family.spread - family.floor / family.runs),
        squares**2 @ ((family.spread / family.runs) ** 2 / family.freedom),
        np.where(weights != 0, family.freedom, np.inf).min(1),
    )


def _of_images(scores: Values, unit: Values) -> tuple[Values, Values]:
    """Return the variances of the means of `scores` (n, images), and their degrees of freedom."""
    count = scores.shape[1] + 2 * (unit > 0)
    mean = scores.sum(1) / count
    left = scores - mean[:, None]  # about the mean: less is lost to rounding
    added = count - scores.shape[1]  # the further images: half of each has a difference of ± unit
    second, fourth = (
        (left**power).sum(1)
        + ((unit - mean) ** power + (unit + mean) ** power) / 2 * (added > 0)
        + mean**power * np.maximum(0, added - 1)
        for power in (2, 4)
    )
    variance = second / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        kurtosis = np.where(variance > 0, fourth / count / variance**2, 3.0)
    freedom = 2 * count / np.maximum(kurtosis - (count - 3) / (count - 1), 2 / (count - 1) * count)
    return variance / count, np.clip(freedom, np.minimum(LEAST_FREEDOM, count - 1.0), count - 1.0)
