"""Which rows and which values of a field differ on test: the comparisons that the report's sentences are made of."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fieldtrial.results.report_data import is_share, row_labels
from fieldtrial.results.statistics import FEWEST, Comparison, compare
from fieldtrial.results.summary import Row, Summary
from fieldtrial.values import format_value

MOST_LEVELS = 8  # of a compared field; with more, pairs of them are too many to be told apart


@dataclass(frozen=True)
class Tested:
    """The rows that have been tested: `values` has {seed: test result} of each; `best` is the one with the best mean.

    comparisons: of the best row with each other one, corrected together. labels: of all rows of the sweep.
    """

    values: dict[int, dict[int, float]]
    best: int | None
    comparisons: dict[int, Comparison]
    labels: list[str]
    metric: str
    mode: str

    @property
    def level(self) -> list[int]:
        """The rows to which no difference of the best one is shown, the best mean first."""
        level = [row for row, comparison in self.comparisons.items() if not comparison.shown]
        return sorted(level, key=self.mean, reverse=self.mode == "max")

    @property
    def best_first(self) -> list[int]:
        """The rows that have been tested, the best mean first."""
        return sorted(self.values, key=self.mean, reverse=self.mode == "max")

    def mean(self, row: int) -> float:
        """Return the mean of a row's tests."""
        return float(np.mean(list(self.values[row].values())))


@dataclass(frozen=True)
class FieldComparisons:
    """A compared field: its values with the mean test result of each, and each two of them in rows alike in all else.

    pairs: (value, other value, comparison of the first with the second).
    """

    name: str
    means: dict[str, float]
    pairs: list[tuple[str, str, Comparison]]


def compare_rows(summary: Summary, finals: pd.DataFrame, description: Mapping[str, Any]) -> Tested:
    """Return what the tests of the rows' winners show; finals: their finished runs with fresh seeds."""
    tested = finals[np.isfinite(pd.to_numeric(finals[summary.test], errors="coerce").astype(float))]
    values = {
        int(str(row)): {int(seed): float(value) for seed, value in zip(own["seed"], own[summary.test], strict=True)}
        for row, own in tested.groupby("row")
    }
    sign = 1 if description["mode"] == "max" else -1
    best = max(values, key=lambda row: sign * float(np.mean(list(values[row].values()))), default=None)
    images = pd.to_numeric(tested["test_images"], errors="coerce").max() if "test_images" in tested else 0
    resolution = 1 / float(images) if is_share(summary.test) and images > 0 else 0.0
    pairs = [] if best is None else [(best, row) for row in values if row != best]
    comparisons = {row: one for (_, row), one in zip(pairs, compare(values, pairs, resolution), strict=True)}
    return Tested(values, best, comparisons, row_labels(description["rows"]), summary.test, description["mode"])


def compare_fields(rows: Sequence[Row], tested: Tested, names: Sequence[str]) -> list[FieldComparisons]:
    """Return the comparisons of the fields `names`, corrected together.

    Two values of a field are compared by the means of the rows that are alike in all other compared fields, if there
    are three pairs of such rows or more.
    """
    groups: dict[tuple[str, str], dict[int, float]] = {}
    contexts: dict[tuple[str, ...], int] = {}
    by_number = {row["row"]: row for row in rows}
    for name, number in itertools.product(names, tested.values):
        cells = {other: format_value(by_number[number][other]) for other in names}
        context = (name, *(cell for other, cell in cells.items() if other != name))
        place = contexts.setdefault(context, len(contexts))
        groups.setdefault((name, cells[name]), {})[place] = tested.mean(number)
    pairs = []
    for name in names:
        levels = [group for group in groups if group[0] == name]
        if len(levels) <= MOST_LEVELS:
            both = itertools.combinations(levels, 2)
            pairs += [(one, other) for one, other in both if len(groups[one].keys() & groups[other].keys()) >= FEWEST]
    compared = list(zip(pairs, compare(groups, pairs), strict=True)) if pairs else []
    return [
        FieldComparisons(
            name,
            {level: float(np.mean(list(own.values()))) for (field, level), own in groups.items() if field == name},
            [(one[1], other[1], comparison) for (one, other), comparison in compared if one[0] == name],
        )
        for name in names
    ]
