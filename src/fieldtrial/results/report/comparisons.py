"""Which rows, and which values of a field, differ on test: what the report's sentences say."""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fieldtrial.disk.sweep_description import Mode
from fieldtrial.results.analysis.groups import DATA, Group, Groups
from fieldtrial.results.analysis.statistics import FEWEST, Comparison, compare

MOST_LEVELS = 8  # of a compared field; with more, pairs of them are too many to be told apart


@dataclass(frozen=True)
class RowComparisons:
    """A sweep's table, as far as its rows have been tested.

    table: a group for each row. labels: of the rows.
    """

    table: Groups
    labels: list[str]

    @cached_property
    def groups(self) -> dict[int, Group]:
        """The rows that have been tested."""
        return {group.number: group for group in self.table.groups if group.values}

    @property
    def metric(self) -> str:
        """What the rows were tested by."""
        return self.table.metric

    @property
    def mode(self) -> Mode:
        """Whether the metric is best when it is large or when it is small."""
        return self.table.mode

    @property
    def best(self) -> list[int]:
        """The row that was best on validation, for each of the data that rows were tested on."""
        return [
            row
            for row, group in self.groups.items()
            if group.comparison is None and group.mark != "none"
        ]

    def others(self, best: int) -> dict[int, Comparison]:
        """Return the comparisons of a best row with the others, the best mean of these first."""
        known = {row: self.groups[row].comparison for row in self.best_first}
        return {row: one for row, one in known.items() if one and one.first == best}

    @property
    def set_off(self) -> set[int]:
        """The rows that are the best, or have been tested and not been shown to be worse."""
        return {row for row, group in self.groups.items() if group.is_set_off}

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
    """A compared field: the mean test result of each value, and pairs of values.

    pairs: (value, other value, comparison of the first with the second), in rows that have equal
    values of all other fields.
    """

    name: str
    means: dict[str, float]
    pairs: list[tuple[str, str, Comparison]]


def compare_fields(tested: RowComparisons) -> list[FieldComparisons]:
    """Return the comparisons of the fields that do not say what is tested on.

    Two values of a field are compared by the means of the rows that have equal values of all other
    compared fields, if there are three pairs of such rows or more. All are corrected together.
    """
    groups: dict[tuple[str, str], dict[int, float]] = {}
    contexts: dict[tuple[str, ...], int] = {}
    names = [name for name in tested.table.fields if name not in DATA]
    for name, (number, group) in itertools.product(names, tested.groups.items()):
        cells = dict(zip(tested.table.fields, group.key, strict=True))
        context = (name, *(cell for other, cell in cells.items() if other != name))
        place = contexts.setdefault(context, len(contexts))
        groups.setdefault((name, cells[name]), {})[place] = tested.mean(number)
    pairs = []
    for name in names:
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
        for name in names
    ]
