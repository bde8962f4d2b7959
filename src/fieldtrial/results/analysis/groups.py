"""A group of trials: its winner on validation, its final runs on test, and how it compares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import pandas as pd

from fieldtrial.disk.sweep_description import Mode
from fieldtrial.results.analysis.statistics import Comparison, Estimate, compare, estimate_seeds
from fieldtrial.results.analysis.winner import TrialValues, best_index
from fieldtrial.results.read.trials import FAILED

Key = tuple[str, ...]
# How a group stands to the best of its family; untested: there are too few seeds to tell.
Mark = Literal["best", "not distinguishable", "better", "worse", "untested", "none"]
SET_OFF = ("best", "not distinguishable", "better")  # marks of what stands out in a table
DATA = ("dataset", "classes")  # what is tested on: scores on different data are not compared
COMPARED_METRICS = ("test_", "validation_")  # those of which it is known whether more is better


@dataclass(frozen=True)
class Group:
    """The trials that share the values `key` of the fields that are grouped by.

    number: tells the groups of a table apart, some of which may have equal keys.
    trials: its search and final trials. winner: the best of the search on validation, if any.
    runs: the winner's runs with fresh seeds. finals: those of them that ended with the metric.
    values: {seed: the metric} of the finals. data: what the group was tested on.
    note: what is missing, and why. expected: search trials that there will be at the end.
    repeated: proposals of the search that had been tried before.
    mark: how it stands to the best of its family. comparison: the best minus this one.
    """

    number: int
    key: Key
    trials: pd.DataFrame
    winner: TrialValues | None
    runs: pd.DataFrame
    finals: pd.DataFrame
    values: dict[int, float]
    data: Key
    note: str = ""
    expected: int = 0
    repeated: int = 0
    mark: Mark = "none"
    comparison: Comparison | None = None

    @property
    def estimate(self) -> Estimate | None:
        """The mean over the seeds, without an interval for fewer than three; None without any."""
        return estimate_seeds(list(self.values.values())) if self.values else None

    @property
    def is_set_off(self) -> bool:
        """Whether it is the best, or was tested and not shown to be worse."""
        return self.mark in SET_OFF

    def count(self, role: str, *outcomes: str) -> int:
        """Return how many trials of a role ended so; of any outcome if none is named."""
        own = self.trials.loc[self.trials["role"] == role, "outcome"]
        return int(own.isin(outcomes).sum()) if outcomes else len(own)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many trials there are of each kind that a table for machines tells apart."""
        return {
            "search_trials": self.count("search"),
            "search_repeated": self.repeated,
            "search_stopped_early": self.count("search", "stopped"),
            "search_failed": self.count("search", *FAILED),
            "final_failed": int(self.runs["outcome"].isin(FAILED).sum()),
            "final_left_out": self.count("final") - len(self.runs),
        }


@dataclass(frozen=True)
class Groups:
    """The groups of a table, in its order.

    fields: what is grouped by. metric: what the final runs are compared by.
    select, mode: what chooses winners, and whether it is best when large or small.
    notes: lines on how trials ended, and which of them are in no group.
    """

    fields: tuple[str, ...]
    metric: str
    select: str
    mode: Mode
    groups: list[Group]
    notes: list[str]


def mark_groups(
    groups: Sequence[Group],
    fields: Sequence[str],
    metric: str,
    within: Sequence[str],
    select: str,
    mode: Mode,
) -> list[Group]:
    """Return the groups with their marks.

    A family has the same data and the same values of the fields `within`. In it, each group is
    compared with the one that is best on validation, by `select` and `mode`. The best is not
    chosen by `metric`: the largest of many test results would be too good.
    """
    if not metric.startswith(COMPARED_METRICS):
        return list(groups)
    families: dict[Key, list[Group]] = {}
    for group in groups:
        if group.values and group.winner:
            values = (group.key[fields.index(name)] for name in within)
            families.setdefault((*group.data, *values), []).append(group)
    marked = {
        group.number: group
        for family in families.values()
        for group in _compare_family(family, metric, select, mode)
    }
    return [marked.get(group.number, group) for group in groups]


def _compare_family(family: Sequence[Group], metric: str, select: str, mode: Mode) -> list[Group]:
    """Return the family's groups with their marks."""
    winners = [group.winner or {} for group in family]
    outcomes, scores = ([winner[name] for winner in winners] for name in ("outcome", select))
    best = family[best_index(outcomes, scores, mode) or 0]
    values = {group.number: group.values for group in family}
    pairs = [(best.number, group.number) for group in family if group is not best]
    found = compare(values, pairs, _resolution(family, metric))
    known = {comparison.second: comparison for comparison in found}
    less_is_more = metric.endswith("loss")
    marked = []
    for group in family:
        comparison = known.get(group.number)
        mark: Mark = "best"
        if comparison is None:
            mark = "best" if any(one.p is not None for one in found) else "untested"
        elif comparison.p is None:
            mark = "untested"
        elif not comparison.shown:
            mark = "not distinguishable"
        else:
            mark = "worse" if (comparison.difference > 0) != less_is_more else "better"
        marked.append(replace(group, mark=mark, comparison=comparison))
    return marked


def _resolution(family: Sequence[Group], metric: str) -> float:
    """Return the step of an accuracy: one image of those that it was measured on."""
    split = metric.partition("_")[0]
    images = [
        group.finals.get(f"{split}_images", pd.Series()).astype(float).min() for group in family
    ]
    known = [number for number in images if number > 0]
    return 1 / min(known) if known and metric.endswith("accuracy") else 0.0
