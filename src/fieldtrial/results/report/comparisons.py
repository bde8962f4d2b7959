"""Which rows and which values of a field differ on test: the comparisons that the report's
sentences are made of.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.fields import format_value
from fieldtrial.results.analysis.groups import DATA, SET_OFF, Group, Groups, groups_of_rows
from fieldtrial.results.analysis.statistics import FEWEST, Comparison, compare
from fieldtrial.results.analysis.summary import Row, Summary

MOST_LEVELS = 8  # of a compared field; with more, pairs of them are too many to be told apart


@dataclass(frozen=True)
class Tested:
    """The rows that have been tested: `groups` has the winner's tests of each, and how it stands to
    the best.

    Best is what was best on validation among the rows tested on the same data, as in the table: the
    best of many test results would be too good, and all comparisons with it bent. labels: of all
    rows of the sweep.
    """

    groups: dict[int, Group]
    labels: list[str]
    metric: str
    mode: str

    @property
    def values(self) -> dict[int, dict[int, float]]:
        """{seed: test result} of each row."""
        return {row: group.values for row, group in self.groups.items()}

    @property
    def best(self) -> list[int]:
        """The row that was best on validation, for each of the data that rows were tested on."""
        return [row for row, group in self.groups.items() if group.comparison is None]

    def others(self, best: int) -> dict[int, Comparison]:
        """Return the comparisons of a best row with the others, the best mean of these first."""
        known = {row: self.groups[row].comparison for row in self.best_first}
        return {
            row: one for row, one in known.items() if one and one.first == self.groups[best].key
        }

    @property
    def set_off(self) -> set[int]:
        """The rows that are the best, or have been tested and not been shown to be worse."""
        return {row for row, group in self.groups.items() if group.mark in SET_OFF}

    @property
    def best_first(self) -> list[int]:
        """The rows that have been tested, the best mean first."""
        return sorted(self.groups, key=self.mean, reverse=self.mode == "max")

    @property
    def runs(self) -> list[str]:
        """The trials that were tested, the best row's first."""
        return [trial for row in self.best_first for trial in self.groups[row].finals["trial"]]

    def mean(self, row: int) -> float:
        """Return the mean of a row's tests."""
        return float(np.mean(list(self.groups[row].values.values())))


@dataclass(frozen=True)
class FieldComparisons:
    """A compared field: its values with the mean test result of each, and each two of them in rows
    alike in all else.

    pairs: (value, other value, comparison of the first with the second).
    """

    name: str
    means: dict[str, float]
    pairs: list[tuple[str, str, Comparison]]


def compare_rows(summary: Summary, groups: Groups | None, description: SweepDescription) -> Tested:
    """Return what the tests of the rows' winners show; groups: by the fields that the sweep
    compares.
    """
    known = groups_of_rows(groups, summary) if groups else {}
    tested = {row: group for row, group in known.items() if group.values}
    return Tested(tested, description.labels, summary.test, description.mode)


def compare_fields(
    rows: Sequence[Row], tested: Tested, names: Sequence[str]
) -> list[FieldComparisons]:
    """Return the comparisons of those of the fields `names` that do not say what is tested on,
    corrected together.

    Two values of a field are compared by the means of the rows that are alike in all other compared
    fields, if there are three pairs of such rows or more.
    """
    groups: dict[tuple[str, str], dict[int, float]] = {}
    contexts: dict[tuple[str, ...], int] = {}
    by_number = {row["row"]: row for row in rows}
    compared_names = [name for name in names if name not in DATA]
    for name, number in itertools.product(compared_names, tested.groups):
        cells = {other: format_value(by_number[number][other]) for other in names}
        context = (name, *(cell for other, cell in cells.items() if other != name))
        place = contexts.setdefault(context, len(contexts))
        groups.setdefault((name, cells[name]), {})[place] = tested.mean(number)
    pairs = []
    for name in compared_names:
        levels = [group for group in groups if group[0] == name]
        if len(levels) <= MOST_LEVELS:
            both = itertools.combinations(levels, 2)
            pairs += [
                (one, other)
                for one, other in both
                if len(groups[one].keys() & groups[other].keys()) >= FEWEST
            ]
    compared = list(zip(pairs, compare(groups, pairs), strict=True)) if pairs else []
    return [
        FieldComparisons(
            name,
            {
                level: float(np.mean(list(own.values())))
                for (field, level), own in groups.items()
                if field == name
            },
            [
                (one[1], other[1], comparison)
                for (one, other), comparison in compared
                if one[0] == name
            ],
        )
        for name in compared_names
    ]
