"""The rows of a sweep's table that have been tested, as the report's sentences need them."""

from dataclasses import dataclass
from functools import cached_property

from fieldtrial.disk.sweep_description import Mode
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.verdicts.comparisons import Comparison
from fieldtrial.results.verdicts.estimates import Interval


@dataclass(frozen=True)
class ComparedRows:
    """A sweep's table, as far as its rows have been tested.

    table: a group for each row. labels: of the rows.
    """

    table: Groups
    labels: list[str]

    @cached_property
    def groups(self) -> dict[int, Group]:
        """The rows that have been tested."""
        return {group.number: group for group in self.table.groups if group.interval}

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
        return [row for row, group in self.groups.items() if group.mark == "best"]

    def others(self, best: int) -> dict[int, Comparison]:
        """Return how rows compare with the best of their family, the best mean first."""
        family = self.groups[best].family
        own = (row for row in self.best_first if self.groups[row].family == family)
        compared = {row: self.groups[row].comparison for row in own}
        return {row: one for row, one in compared.items() if one}

    @property
    def best_first(self) -> list[int]:
        """The rows that have been tested, the best mean first."""
        return sorted(
            self.groups, key=lambda row: self.interval(row).mean, reverse=self.table.sign > 0
        )

    @property
    def runs(self) -> list[str]:
        """The trials that were tested, the best row's first."""
        return [trial for row in self.best_first for trial in self.groups[row].finals["trial"]]

    def interval(self, row: int) -> Interval:
        """Return a row's mean and its interval."""
        interval = self.groups[row].interval
        assert interval
        return interval
