"""Differences between rows, judged together: the only tests that a table and its report make."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from scipy import special

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import (
    Contrasts,
    Runs,
    contrasts_of,
    family_of,
)
from fieldtrial.results.verdicts.folds import Values
from fieldtrial.results.verdicts.joint import Judged, judge
from fieldtrial.results.verdicts.sequential import Contest

# What a comparison generalises to. Where rows were tested on different images, these are unpaired.
# Folds: to other seeds, and to other images to train and to test on.
Basis = Literal["seeds and images", "seeds and unpaired images", "seeds", "folds"]


@dataclass(frozen=True)
class Comparison:
    """A difference of means, such as a row's minus the best row's, in the metric's unit.

    low, high: the interval that is right together with those of all other comparisons of its
        family in 95 % of tables.
    p: two-sided, by itself. corrected_p: for the whole family; below 0.05 exactly where the
        interval does not hold 0.
    chance: the probability that one new run of the first row scores higher than one new run of the
        second, on as many new images (X. Bouthillier et al., "Accounting for variance in machine
        learning benchmarks", MLSys 2021); chance_low, chance_high: its interval, from `low` and
        `high`.
    images, seeds: the difference's variances through new images and through new seeds.
    freedom: degrees of freedom of both together.
    """

    difference: float
    low: float
    high: float
    p: float
    corrected_p: float
    chance: float
    chance_low: float
    chance_high: float
    basis: Basis
    images: float
    seeds: float
    freedom: float

    @property
    def shown(self) -> bool:
        """Whether a difference is shown; that none is shown does not mean that there is none."""
        return self.corrected_p < LEVEL

    def reversed(self) -> "Comparison":
        """Return the second minus the first."""
        return replace(
            self,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            chance=1 - self.chance,
            chance_low=1 - self.chance_high,
            chance_high=1 - self.chance_low,
        )


def compare(rows: Sequence[Runs], weights: Values, families: int = 1) -> list[Comparison]:
    """Return the comparisons of `weights` (comparisons, rows), such as 1 and -1 for two rows.

    Each row has runs enough (see `Runs.suffices`). families: that share the level.
    """
    if not len(weights):
        return []
    contrasts = contrasts_of(family_of(rows), weights)
    return _comparisons(contrasts, judge(contrasts, families), rows, weights)


def compare_in_looks(contest: Contest, rows: Sequence[Runs], weights: Values) -> list[Comparison]:
    """Return the comparisons as the look found them that showed them, or the last look."""
    by_look = [
        _comparisons(contrasts, look.judged, rows, weights)
        for contrasts, look in zip(contest.contrasts, contest.found, strict=True)
    ]
    return [by_look[look][number] for number, look in enumerate(contest.verdicts)]


def _comparisons(
    contrasts: Contrasts, judged: Judged, rows: Sequence[Runs], weights: Values
) -> list[Comparison]:
    single = np.sqrt(np.maximum(contrasts.single, np.finfo(float).tiny))
    half_widths = np.where(np.isfinite(judged.half_widths), judged.half_widths, np.inf)
    low, high = contrasts.sums - half_widths, contrasts.sums + half_widths
    chances = [special.ndtr(ends / single) for ends in (contrasts.sums, low, high)]
    numbers = np.stack(
        [
            *(contrasts.sums, low, high, judged.p, judged.corrected_p),
            *(*chances, contrasts.images, contrasts.seeds, contrasts.freedom),
        ],
        axis=1,
    )
    names = [one.name for one in fields(Comparison) if one.name != "basis"]
    found = []
    for own, values in zip(weights, numbers.tolist(), strict=True):
        basis = _basis([row for row, weight in zip(rows, own, strict=True) if weight])
        found.append(Comparison(**dict(zip(names, values, strict=True)), basis=basis))
    return found


def _basis(rows: Sequence[Runs]) -> Basis:
    if rows[0].folds:
        return "folds"
    if any(row.images is None for row in rows):
        return "seeds"
    same = len({row.images.tobytes() for row in rows if row.images is not None}) == 1
    return "seeds and images" if same else "seeds and unpaired images"


def may_be_best(against: int, differences: dict[int, Comparison], sign: int) -> set[int]:
    """Return which rows no interval shows to be beaten, of those that were compared.

    differences: of each compared row's mean minus that of the row `against`. sign: 1 where more is
    better. All intervals hold together, so a row is beaten by another than `against` where its
    interval ends before the other's begins, at no further error.
    """
    ends = {against: (0.0, 0.0)}
    for row, one in differences.items():
        ends[row] = (one.low, one.high) if sign > 0 else (-one.high, -one.low)
    highest_low = max(low for low, _ in ends.values())
    return {row for row, (_, high) in ends.items() if high >= highest_low}
