"""The statistics of the tables."""

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from scipy import special, stats

SIGNIFICANCE = 0.05
FEWEST = 3  # values that an interval of a table or a comparison needs: two say next to nothing
FLOAT_NOISE = 1e-12  # of the values: what rounding leaves of a spread of 0
K = TypeVar("K", bound=Hashable)


class Estimate(NamedTuple):
    """The mean of n values and its interval: mean ± half_width, None where n is too small."""

    mean: float
    half_width: float | None
    n: int


def estimate_mean(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of `values` with its two-sided Student t interval (n - 1 degrees of freedom).

    The half-width is in the unit of the values; it needs two of them.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    n = len(values)
    if not n or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a mean needs at least one value, all of them finite, not {list(values)}")
    mean = statistics.fmean(values)
    if n < 2:
        return Estimate(mean, None, n)
    quantile = float(stats.t.ppf((1 + confidence) / 2, n - 1))
    return Estimate(mean, quantile * statistics.stdev(values) / math.sqrt(n), n)


def estimate_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds as in a table: without an interval for fewer than three."""
    estimate = estimate_mean(values)
    return estimate if estimate.n >= FEWEST else estimate._replace(half_width=None)


@dataclass(frozen=True)
class Comparison:
    """The difference between two groups' means, first - second, in the unit of the values.

    half_width: of the difference's 95 % interval, not corrected for the number of comparisons.
    p: two-sided. corrected_p: by Holm's method for all comparisons that were made together.
    n: pairs of values, or the values of the smaller group. paired: whether by seed.
    half_width, p and corrected_p are None where there are too few values.
    """

    first: Hashable
    second: Hashable
    difference: float
    half_width: float | None
    p: float | None
    n: int
    paired: bool
    corrected_p: float | None = None

    @property
    def shown(self) -> bool:
        """Whether a difference is shown; that none is shown does not mean that there is none."""
        return self.corrected_p is not None and self.corrected_p < SIGNIFICANCE


def compare(
    values: Mapping[K, Mapping[int, float]], pairs: Iterable[tuple[K, K]], resolution: float = 0.0
) -> list[Comparison]:
    """Return the comparisons of the `pairs` of groups, in order.

    values: {seed: value} of each group. resolution: the step in which the values are counted, such
    as one of the images of a test.
    With three seeds or more in common: Student's t test of the differences by seed. Else, with
    three values or more in each: Welch's t test. The p-values of all pairs are corrected together.
    A spread smaller than what rounding alone makes (Sheppard's step² / 12 for each value) is raised
    to that. Without this, three equal differences, which are not rare near 100 %, would be called
    certain.

    Source: B. L. Welch, "The generalization of 'Student's' problem when several different
    population variances are involved", Biometrika 34, 1947; S. Holm, "A simple sequentially
    rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979; W. F. Sheppard,
    Proceedings of the London Mathematical Society 29, 1898.

    Raises:
        ValueError: a group without values, or with one that is not finite.
    """
    for name, group in values.items():
        if not group or not all(map(math.isfinite, group.values())):
            raise ValueError(
                f"{name}: a comparison needs values, all of them finite, not {list(group.values())}"
            )
    compared = [
        _compare(first, second, values[first], values[second], resolution)
        for first, second in pairs
    ]
    tested = [comparison.p for comparison in compared if comparison.p is not None]
    corrected = iter(correct(tested))
    return [
        replace(one, corrected_p=None if one.p is None else next(corrected)) for one in compared
    ]


def correct(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's method for their number; each is at most 1."""
    if len(p_values) < 2:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests  # late: it takes a quarter of a second

    return [float(value) for value in multipletests(p_values, method="holm")[1]]


def _compare(
    first: Hashable,
    second: Hashable,
    a: Mapping[int, float],
    b: Mapping[int, float],
    resolution: float,
) -> Comparison:
    shared = sorted(a.keys() & b.keys())
    step = resolution**2 / 12
    if len(shared) >= FEWEST:
        differences = [a[seed] - b[seed] for seed in shared]
        n, freedom = len(shared), len(shared) - 1.0
        difference, variance = (
            statistics.fmean(differences),
            max(statistics.variance(differences), 2 * step) / n,
        )
    else:
        difference = statistics.fmean(a.values()) - statistics.fmean(b.values())
        n = min(len(a), len(b))
        if n < FEWEST:
            return Comparison(first, second, difference, None, None, n, paired=False)
        parts = [
            (max(statistics.variance(one.values()), step) / len(one), len(one) - 1)
            for one in (a, b)
        ]
        variance = sum(part for part, _ in parts)
        freedom = (
            variance**2 / sum(part**2 / df for part, df in parts) if variance else float(n - 1)
        )
    paired = len(shared) >= FEWEST
    noise = FLOAT_NOISE * max(map(abs, (*a.values(), *b.values())))
    if variance <= noise**2:  # no spread at all
        p = 1.0 if math.isclose(difference, 0.0, abs_tol=1e-12) else 0.0
        return Comparison(first, second, difference, 0.0, p, n, paired)
    error = math.sqrt(variance)
    p = float(2 * special.stdtr(freedom, -abs(difference) / error))
    half_width = float(special.stdtrit(freedom, 1 - SIGNIFICANCE / 2)) * error
    return Comparison(first, second, difference, half_width, p, n, paired)
