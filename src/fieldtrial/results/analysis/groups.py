"""A group of trials: its winner on validation, its final runs on test, and how it compares."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from fieldtrial.disk.schemas import SMALL_IS_BETTER
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.fields.row_names import name_rows
from fieldtrial.fields.task_metrics import metric_of
from fieldtrial.results.analysis.winner import TrialValues
from fieldtrial.results.read.trials import FAILED, RUN, TESTED
from fieldtrial.results.verdicts.comparisons import Comparison
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.estimates import Interval

Key = tuple[str, ...]
# How a group stands to the best of its family. untested: it has too few runs to tell.
Mark = Literal["best", "not shown to differ", "better", "worse", "untested", "none"]


@dataclass(frozen=True)
class Group:
    """The trials of one row of a table.

    number: its place in the order of making. key: its values of the table's fields.
    trials: all of them. winner: the best search trial on validation, None if there is none.
    runs: the winner's runs with fresh seeds. finals: those with a finite value of the metric.
    values: {seed: the metric} of the finals. data: what the group was tested on.
    scored: what the finals scored; None without finals. unscored: why scores on
    images are missing, or nothing. stages: the same as it was at each look, where the sweep looks
    several times. alike: its number among the settings, other than the table's fields, that groups
    have. ended: how many final runs have ended, well or not.
    note: what is missing, and why. expected: search trials that there will be at the end.
    repeated: proposals of the search that had been tried before.
    interval: the metric's mean and interval. mark: how it stands to the best of its family.
    comparison: its mean minus the best's. in_best_set: whether no comparison shows it to be beaten;
    None where it is not compared. letters: that it shares with those that it is not shown to differ
    from, where all pairs are compared. untested: why it is not compared. given: final runs that it
    should have by now, where the sweep looks several times. family: what it has in common with
    those it is compared with: the data, all settings but the table's fields, and those of the
    table's fields that comparisons stay within.
    state: the digest of the data that the finals were trained and tested on, if it is known.
    apart: final runs that are no finals, because they depend on other data, weights or code.
    """

    number: int
    key: Key
    trials: pd.DataFrame
    winner: TrialValues | None
    runs: pd.DataFrame
    finals: pd.DataFrame
    values: dict[int, float]
    data: Key
    scored: Runs | None = None
    unscored: str = ""
    stages: tuple[Runs, ...] = ()
    ended: int = 0
    note: str = ""
    expected: int = 0
    repeated: int = 0
    interval: Interval | None = None
    mark: Mark = "none"
    comparison: Comparison | None = None
    in_best_set: bool | None = None
    letters: str = ""
    untested: str = ""
    given: int | None = None
    family: Key = ()
    alike: int = 0
    state: str = ""
    apart: int = 0

    def chosen_by(self, select: str) -> float:
        """Return what the winner reached on validation: the mean of its runs where it was chosen by
        several, as a finalist or in no sweep.
        """
        assert self.winner
        is_run = self.trials["role"].isin(("finalist", RUN))
        for name in ("configuration", "search") if is_run.any() else ():
            is_run &= self.trials[name] == self.winner[name]
        values = pd.to_numeric(self.trials.loc[is_run, select]).astype(float)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float(self.winner[select])

    def count(self, role: str, *outcomes: str) -> int:
        """Return how many trials of a role ended so; of any outcome if none is named."""
        own = self.trials.loc[self.trials["role"] == role, "outcome"]
        return int(own.isin(outcomes).sum()) if outcomes else len(own)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many trials there are of each kind that a table for machines tells apart."""
        tested = self.trials["role"].isin(TESTED)
        return {
            "search_trials": self.count("search"),
            "search_repeated": self.repeated,
            "search_stopped_early": self.count("search", "stopped"),
            "search_failed": self.count("search", *FAILED),
            "final_failed": int(self.runs["outcome"].isin(FAILED).sum()),
            # Whose winner a run without a readable config is of, nobody knows: others name it.
            "final_left_out": int((tested & self.trials["configuration"].notna()).sum())
            - int(self.runs["configuration"].notna().sum()),
        }


@dataclass(frozen=True)
class FieldComparison:
    """Two values of a compared field, in groups that have equal values of all other fields.

    data: what the groups were tested on. name: the field. value: compared with `other`, the one
    whose groups are best on validation.
    comparison: the mean over the pairs of groups of the first minus the second. pairs: how many.
    """

    data: Key
    name: str
    value: str
    other: str
    comparison: Comparison
    pairs: int


@dataclass(frozen=True)
class PairComparison:
    """Two groups, by their numbers: the mean of the first minus that of the second."""

    first: int
    second: int
    comparison: Comparison


@dataclass(frozen=True)
class Groups:
    """The groups of a table, in its order.

    fields: what is grouped by. metric: what the final runs are compared by.
    select, mode: what chooses winners, and whether it is best when large or small.
    notes: lines on how trials ended, and which of them are in no group.
    unequal: lines on what groups differ in that are therefore not compared.
    compared_fields: comparisons of fields' values, in the same family as those of the groups.
    all_pairs: whether each group is compared with each, not only with the best.
    compared_pairs: all pairs, where these are compared: within their families.
    most_seeds: that a row may get, where the sweep looks several times. pairs_contested: whether
    further ones are given for every pair that is undecided, not only for those with the best.
    twins: the numbers of two groups that are one row, run twice. noise: the second minus the first.
    row_names: of a sweep's own rows; else names are made of the groups' values. has_labels: whether
    the sweep gives names to some of its rows.
    """

    fields: tuple[str, ...]
    metric: str
    select: str
    mode: Mode
    groups: list[Group]
    notes: list[str]
    unequal: Sequence[str] = ()
    compared_fields: list[FieldComparison] = field(default_factory=list)
    all_pairs: bool = False
    compared_pairs: list[PairComparison] = field(default_factory=list)
    most_seeds: int | None = None
    pairs_contested: bool = False
    twins: tuple[int, int] | None = None
    noise: Comparison | None = None
    row_names: tuple[str, ...] = ()
    has_labels: bool = False

    @cached_property
    def names(self) -> dict[int, str]:
        """A short name for each group, by its number: without what they all share."""
        own = [dict(zip(self.fields, group.key, strict=True)) for group in self.groups]
        made = name_rows(own, self.fields, [group.key for group in self.groups])
        numbers = [group.number for group in self.groups]
        return dict(zip(numbers, made, strict=True)) | dict(enumerate(self.row_names))

    @cached_property
    def sign(self) -> int:
        """1 where more of the metric is better, else -1. Runs say it of a user's own metric."""
        known = metric_of(self.metric)
        if known and not known.more_is_better:
            return -1
        name = self.metric.partition("_")[2]  # without its split
        finals = [one.finals for one in self.groups if SMALL_IS_BETTER in one.finals]
        said = (own for one in finals for own in one[SMALL_IS_BETTER] if isinstance(own, list))
        return -1 if any(name in own for own in said) else 1

    @property
    def row_comparisons(self) -> list[Comparison]:
        """The comparisons of different rows."""
        if self.all_pairs:
            return [one.comparison for one in self.compared_pairs]
        return [group.comparison for group in self.groups if group.comparison]

    @property
    def every_comparison(self) -> list[Comparison]:
        """All comparisons that have been made: of rows, of fields' values, of a row with itself."""
        fields = [one.comparison for one in self.compared_fields]
        is_apart = self.noise is not None and not self.all_pairs and not self._best_is_twin
        return [*self.row_comparisons, *fields, *([self.noise] if self.noise and is_apart else [])]

    @property
    def _best_is_twin(self) -> bool:
        return any(self.groups[number].mark == "best" for number in self.twins or ())
