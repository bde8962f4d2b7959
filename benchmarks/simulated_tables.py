"""Simulated tables of which it is known what differs, and other rules that judge them.

A run is right about an image where a normal number is above a threshold. The number is the sum of
one of the image, one of the row on the image, one of the run on the image, and one of the run. The
share of the variance that a seed redraws is that of the third.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats  # noqa: TID253 (nothing of this runs in a worker)
from statsmodels.stats.multitest import multipletests

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import Runs

Values = NDArray[np.float64]
UNTIL = 10  # the most seeds of a row in the contest
UNEQUAL = 4.0  # with unequal spread, rows' shares differ from a quarter to four times


@dataclass(frozen=True)
class Cell:
    """A kind of table. seeds: runs a row, or 0 for `until`. share: of the variance, by a seed.

    luck: the variance of a run's accuracy on all images together, as a multiple of that which the
    share gives it on so many images.
    """

    rows: int = 24
    seeds: int = 3
    share: float = 0.03
    images: int = 153
    unequal: bool = False
    accuracy: float = 0.9
    luck: float = 1.0


def simulate(random: np.random.Generator, cell: Cell, below: Any = 0.0) -> list[Runs]:
    """Return the runs of a table. below: how much each row's accuracy is below the cell's."""
    rows, images = cell.rows, cell.images
    seeds = cell.seeds or UNTIL
    spread = np.geomspace(1 / UNEQUAL, UNEQUAL, rows) if cell.unequal else np.ones(rows)
    shares = np.minimum(cell.share * random.permutation(spread), 0.95)
    accuracy = np.broadcast_to(np.clip(cell.accuracy - below, 1e-4, 1 - 1e-4), rows)
    image = random.standard_normal(images, dtype=np.float32)
    made = []
    for share, right in zip(shares, accuracy, strict=True):
        luck = cell.luck * share / images
        own = random.standard_normal(images, dtype=np.float32)
        latent = special.ndtri(right) * math.sqrt(1 + luck) + math.sqrt((1 - share) / 2) * (
            image + own
        )
        if not share:  # the seed changes nothing: one run, repeated
            scores = np.asarray(latent > 0, float)[None]
            made.append(Runs(scores.mean(1), scores, np.arange(images), 1.0, seeds - 1))
            continue
        luck_of_runs = math.sqrt(luck) * random.standard_normal((seeds, 1), dtype=np.float32)
        drawn = math.sqrt(share) * random.standard_normal((seeds, images), dtype=np.float32)
        scores = np.asarray(latent + drawn + luck_of_runs > 0, float)
        made.append(Runs(scores.mean(1), scores, np.arange(images), 1.0))
    return made


def with_best(rows: int, best: int) -> Values:
    """Return the contrasts of each row with the best one."""
    weights = np.delete(np.eye(rows), best, axis=0)
    weights[:, best] = -1
    return weights


def with_fields(rows: int, best: int) -> Values:
    """Return also those of the values of two fields, of two and rows / 2 values."""
    weights = [*with_best(rows, best)]
    if rows >= 4:
        halves = np.where(np.arange(rows) < rows // 2, 2 / rows, -2 / rows)
        weights.append(halves)
        weights += [
            np.isin(np.arange(rows), (value, value + rows // 2)) / 2
            - np.isin(np.arange(rows), (0, rows // 2)) / 2
            for value in range(1, rows // 2)
        ]
    return np.stack(weights)


# Other rules: which rows they show to differ from the best.


def paired_holm(rows: list[Runs], best: int) -> Values:
    """The rule before: t tests paired by seed, corrected by Holm's method."""
    step = 1 / rows[0].scores.shape[1] if rows[0].scores is not None else 0.0
    p = []
    for row in rows:
        difference = row.values - rows[best].values
        variance = max(difference.var(ddof=1), step**2 / 6)
        count = len(difference)
        p.append(2 * stats.t.sf(abs(difference.mean()) / math.sqrt(variance / count), count - 1))
    return holm(np.delete(p, best))


def dunnett(rows: list[Runs], best: int) -> Values:
    """C. W. Dunnett's test of the runs' values, which takes equal spreads."""
    others = [row.values for number, row in enumerate(rows) if number != best]
    return np.asarray(stats.dunnett(*others, control=rows[best].values).pvalue < LEVEL)


def mcnemar(rows: list[Runs], best: int) -> Values:
    """Exact McNemar tests of single runs, corrected by Holm's method."""
    p = []
    for number, row in enumerate(rows):
        if number == best:
            continue
        assert row.scores is not None
        control = rows[best].scores
        assert control is not None
        difference = row.scores[0] - control[0]
        for_it, against = int((difference > 0).sum()), int((difference < 0).sum())
        either = for_it + against
        p.append(stats.binomtest(for_it, either).pvalue if either else 1.0)
    return holm(np.array(p))


def holm(p: Values) -> Values:
    """Return which p-values Holm's method shows."""
    return np.asarray(multipletests(p, LEVEL, method="holm")[0])
