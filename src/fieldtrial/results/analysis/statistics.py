"""The mean of a few values, with Student's interval."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy import special

from fieldtrial.results.verdicts.crossed import FEWEST


class Estimate(NamedTuple):
    """The mean of n values and its interval: mean ± half_width, None where n is too small."""

    mean: float
    half_width: float | None
    n: int


def estimate_mean(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean of `values` with its two-sided Student t interval (n - 1 degrees of freedom).

    The half-width is in the unit of the values. It needs three of them, as a table's interval does:
    of two, it is 12.7 standard errors, and wider than all that a share can be.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    n = len(values)
    if not n or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a mean needs at least one value, all of them finite, not {list(values)}")
    mean = statistics.fmean(values)
    if n < FEWEST:
        return Estimate(mean, None, n)
    quantile = float(special.stdtrit(n - 1, (1 + confidence) / 2))
    return Estimate(mean, quantile * statistics.stdev(values) / math.sqrt(n), n)
