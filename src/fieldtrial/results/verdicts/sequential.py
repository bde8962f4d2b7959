"""Seeds until it is decided: looks at the same comparisons with more and more runs.

To look several times and to stop at the first difference gives several chances of a false one. The
level is spent over the looks in proportion to the runs that a row has had, of the most that it may
get (K. Kim, D. L. DeMets, "Design and analysis of group sequential tests based on the type I error
spending rate function", Biometrika 74, 1987), so that all looks together keep it. How much the
looks have in common is computed from what they share: the images, and a row's first runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from fieldtrial.budget import FIRST_SEEDS
from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import (
    Contrasts,
    Runs,
    contrasts_of,
    family_of,
)
from fieldtrial.results.verdicts.folds import CHUNK, Values
from fieldtrial.results.verdicts.joint import DRAWS, TESTED, Judged, p_values

GROWTH = 1.5  # of a row's runs from one look to the next
LEAST_CHANCE = 0.1  # of a decision by further runs: rows with less get none


def looks(most: int) -> list[int]:
    """Return how many runs a row in the contest has had at each look: 3, 5, 8, ... up to `most`."""
    found = [min(FIRST_SEEDS, most)]
    while found[-1] < most:
        found.append(min(most, math.ceil(found[-1] * GROWTH)))
    return found


@dataclass(frozen=True, eq=False)
class Look:
    """What a look found of each contrast.

    judged: p-values and intervals as to all looks so far.
    shown: contrasts that differ. chance: that each will be shown with the most runs, as things are.
    """

    judged: Judged
    shown: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    chance: Values


def look_at(
    stages: Sequence[Sequence[Runs]],
    weights: Values,
    shares: Sequence[float],
    families: int = 1,
    draws: int = DRAWS,
) -> Look:
    """Return what the last of several looks finds.

    stages: the rows' runs at each look; a row that gets no more keeps what it had.
    weights: (contrasts, rows). shares: of the most runs that rows in the contest have had by each.
    families: that share the level.

    The true values are taken to be 0, and the differences at the looks to be normal with the
    covariance that was estimated at each. A difference with more runs is the one that is known
    best: an earlier one is that and what was luck of the earlier runs alone.
    """
    contrasts = [contrasts_of(family_of(rows), weights) for rows in stages]
    covariances = [one.correlation * np.outer(one.errors, one.errors) for one in contrasts]
    level = TESTED * LEVEL / families
    single = -float(special.ndtri(level / 2))  # what a single contrast would have to exceed
    criticals: list[float] = []
    for last in range(len(stages)):
        sizes = _simulated(covariances[: last + 1], draws)
        before = np.zeros(draws, bool)
        for size, critical in zip(sizes[:-1], criticals, strict=True):
            before |= size > critical
        crossed, largest = int(before.sum()), np.sort(sizes[-1][~before])
        spent = level * shares[last]
        allowed = math.ceil(spent * (draws + 1)) - 2 - crossed
        found = float(largest[-1 - allowed]) if 0 <= allowed < len(largest) else math.inf
        criticals.append(max(found, single))
    final = contrasts[-1]
    p = p_values(final)
    quantile = -special.ndtri(np.maximum(p, np.finfo(float).tiny) / 2)
    above = len(largest) - np.searchsorted(largest, quantile)
    # As a single test has it: the level at which the looks so far would show the contrast.
    corrected = np.maximum((crossed + above + 1) / (draws + 1) / shares[-1], p)
    corrected = np.minimum(corrected / TESTED * families, 1.0)
    shown = quantile > criticals[-1]
    widest = 2 * special.ndtr(-criticals[-1])
    half_widths = special.stdtrit(final.freedom, 1 - widest / 2) * final.errors
    return Look(
        Judged(p, corrected, half_widths),
        shown,
        _chance(final, shares[-1], max(single, float(np.quantile(sizes[-1], 1 - level)))),
    )


@dataclass(frozen=True, eq=False)
class Contest:
    """How far the looks have come.

    given: how many runs each row should have by now: those of the last look, or of the next one.
    verdicts: of each contrast, the look that showed it, or the last one; from 0 on.
    found: what each look found. contrasts: what each look looked at.
    """

    given: list[int]
    verdicts: list[int]
    found: list[Look]
    contrasts: list[Contrasts]

    @property
    def shown(self) -> list[bool]:
        """Whether each contrast has been shown to differ by any look."""
        return [bool(self.found[at].shown[n]) for n, at in enumerate(self.verdicts)]


def hold_contest(
    rows: Sequence[Sequence[Runs]],
    finished: Sequence[int],
    weights: Values,
    pairs: Sequence[tuple[int, int]],
    most: int,
    families: int = 1,
    draws: int = DRAWS,
) -> Contest:
    """Return what all looks find that can be held now.

    A pair of rows stays in the contest while its difference is not shown and further runs have a
    chance to show it. A row stays while any of its pairs does.

    rows: of each row, its runs as they were at each of `looks(most)`. finished: how many of a row's
    runs have ended. weights: (contrasts, rows): first those of `pairs`, whose rows get more runs
    while it is undecided, then further contrasts. families: that share the level.
    """
    plan = looks(most)
    given = [plan[0]] * len(rows)
    at = [0] * len(rows)  # the look that a row's runs are of
    stages: list[list[Runs]] = []
    found: list[Look] = []
    contrasts: list[Contrasts] = []
    verdicts = [0] * len(weights)
    for look, count in enumerate(plan):
        stages.append([row[number] for row, number in zip(rows, at, strict=True)])
        shares = [runs / most for runs in plan[: look + 1]]
        found.append(look_at(stages, weights, shares, families, draws))
        contrasts.append(contrasts_of(family_of(stages[-1]), weights))
        verdicts = [
            before if look and found[before].shown[number] else look
            for number, before in enumerate(verdicts)
        ]
        in_contest = {
            row
            for number, pair in enumerate(pairs)
            if not found[verdicts[number]].shown[number]
            and found[-1].chance[number] >= LEAST_CHANCE
            for row in pair
        }
        if not in_contest or count == most:
            break
        for row in in_contest:
            at[row] = look + 1
            if not rows[row][look].is_deterministic:  # else more runs would be the same
                given[row] = plan[look + 1]
        if any(finished[row] < given[row] for row in in_contest):
            break
    return Contest(given, verdicts, found, contrasts)


def _chance(contrasts: Contrasts, share: float, critical: float) -> Values:
    """Return the chance that each contrast is shown at the end, if it is what it looks like.

    critical: about what it has to exceed there, in standard errors.
    """
    at_end = contrasts.images + contrasts.seeds * share
    left = contrasts.images + contrasts.seeds - at_end
    spread = np.sqrt(np.maximum(left, np.finfo(float).tiny))
    limit = critical * np.sqrt(at_end)
    return np.asarray(special.ndtr((np.abs(contrasts.sums) - limit) / spread), float)


def _simulated(covariances: Sequence[Values], draws: int) -> list[Values]:
    """Return the largest |z| of the contrasts at each look, for each draw, where all are 0."""
    random = np.random.default_rng(0)
    count = len(covariances[-1])
    steps = [covariances[-1]]  # what the last look has, and what each earlier one has beside it
    steps += [covariances[n - 1] - covariances[n] for n in range(len(covariances) - 1, 0, -1)]
    roots = []
    for covariance in steps:
        values, vectors = np.linalg.eigh(covariance)
        roots.append(vectors * np.sqrt(np.clip(values, 0.0, None)))
    tiny = np.finfo(float).tiny
    errors = [np.sqrt(np.maximum(np.diag(one), tiny)) for one in reversed(covariances)]
    size = max(1, CHUNK // count)
    found = np.empty((len(steps), draws))
    for first in range(0, draws, size):
        part = slice(first, min(first + size, draws))
        drawn = np.zeros((part.stop - part.start, count))
        for number, (root, error) in enumerate(zip(roots, errors, strict=True)):
            drawn = drawn + random.standard_normal(drawn.shape) @ root.T
            found[number, part] = np.abs(drawn / error).max(1)
    return list(found[::-1])
