"""Contrasts judged together: p-values and intervals that are right for all of them at once."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import Contrasts
from fieldtrial.results.verdicts.folds import CHUNK, Values

TESTED = 0.9  # of the level, that tests are made at: the approximations may miss the rest
DRAWS = 50_000  # of the joint distribution


@dataclass(frozen=True, eq=False)
class Judged:
    """Contrasts with p-values and intervals, a value of each array for each contrast.

    p: two-sided, of each contrast by itself. corrected_p: for all of them together.
    half_widths: of intervals that hold all true values together in 95 % of cases, at the least. A
    corrected p below LEVEL is an interval without 0.
    """

    p: Values
    corrected_p: Values
    half_widths: Values


def judge(contrasts: Contrasts, families: int = 1, draws: int = DRAWS) -> Judged:
    """Return p-values and intervals of the contrasts, corrected for all of them together.

    Each contrast has a t-value with degrees of freedom of its own. Its p-value as a normal quantile
    is compared with the largest of correlated normal variables: single-step max-t (F. Bretz, T.
    Hothorn, P. Westfall, "Multiple Comparisons Using R", 2011, chapter 3). The draws are the same
    each time.

    families: that share the level.
    """
    level = LEVEL / families
    p = p_values(contrasts)
    if len(p) == 1:
        critical, corrected = TESTED * level, p
    else:
        largest = np.sort(_largest(contrasts.correlation, draws))
        quantile = -special.ndtri(np.maximum(p, np.finfo(float).tiny) / 2)
        above = len(largest) - np.searchsorted(largest, quantile)
        # Bonferroni's bound is sharp where draws are few.
        corrected = np.maximum(np.minimum((above + 1) / (draws + 1), len(p) * p), p)
        # How many draws may be above the quantile of a contrast that is shown.
        allowed = math.ceil(TESTED * level * (draws + 1)) - 2
        critical = float(2 * special.ndtr(-largest[draws - 1 - allowed]))
        critical = min(max(critical, TESTED * level / len(p)), TESTED * level)
    corrected = np.minimum(corrected / TESTED * families, 1.0)
    half_widths = special.stdtrit(contrasts.freedom, 1 - critical / 2) * contrasts.errors
    return Judged(p, corrected, half_widths)


def p_values(contrasts: Contrasts) -> Values:
    """Return the two-sided p-value of each contrast's t test by itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(contrasts.sums) / contrasts.errors
    size = np.where(np.abs(contrasts.sums) <= 1e-12, 0.0, size)
    return np.asarray(2 * special.stdtr(contrasts.freedom, -size), float)


def _largest(correlation: Values, draws: int) -> Values:
    """Return the largest absolute value of correlated normal variables, for each draw."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    random = np.random.default_rng(0)
    step = max(1, CHUNK // len(correlation))
    parts = [
        np.abs(random.standard_normal((min(step, draws - first), len(root))) @ root.T).max(1)
        for first in range(0, draws, step)
    ]
    return np.concatenate(parts)
