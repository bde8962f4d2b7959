"""A group of trials: its winner on validation, its final runs on test, and how it compares."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from fieldtrial.disk.sweep_description import Mode
from fieldtrial.results.analysis.winner import TrialValues, best_index
from fieldtrial.results.read.trials import FAILED
from fieldtrial.results.verdicts.comparisons import (
    Comparison,
    compare,
    compare_in_looks,
    may_be_best,
)
from fieldtrial.results.verdicts.crossed import FEWEST, Runs, Values
from fieldtrial.results.verdicts.estimates import Interval, estimate
from fieldtrial.results.verdicts.sequential import hold_contest

Key = tuple[str, ...]
# How a group stands to the best of its family. untested: it has too few runs to tell.
Mark = Literal["best", "not shown to differ", "better", "worse", "untested", "none"]
DATA = ("dataset", "classes")  # what is tested on: scores on different data are not compared
COMPARED_METRICS = ("test_", "validation_")  # those of which it is known whether more is better
ALONE = "there is no other row to compare it with"
MOST_LEVELS = 12  # of a field that is compared; with more, they are too many to be told apart
FEWEST_CONTEXTS = 2  # pairs of otherwise equal groups that a comparison of two values needs


@dataclass(frozen=True)
class Group:
    """The trials of one row of a table.

    number: its place in the order of making. key: its values of the table's fields.
    trials: all of them. winner: the best search trial on validation, None if there is none.
    runs: the winner's runs with fresh seeds. finals: those with a finite value of the metric.
    values: {seed: the metric} of the finals. data: what the group was tested on.
    scored: what the finals' distinct runs scored; None without finals. unscored: why scores on
    images are missing, or nothing. stages: the same as it was at each look, where the sweep looks
    several times. ended: how many final runs have ended, well or not.
    note: what is missing, and why. expected: search trials that there will be at the end.
    repeated: proposals of the search that had been tried before.
    interval: the metric's mean and interval. mark: how it stands to the best of its family.
    comparison: its mean minus the best's. in_best_set: whether no comparison shows it to be beaten;
    None where it is not compared. untested: why not. given: final runs that it should have by now,
    where the sweep looks several times.
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
    untested: str = ""
    given: int | None = None

    def chosen_by(self, select: str) -> float:
        """Return what the winner reached on validation: where there are finalists, in its runs."""
        assert self.winner
        own = self.trials[["role", "configuration", "search"]]
        of_winner = [self.winner[name] for name in ("configuration", "search")]
        is_run = (own == ["finalist", *of_winner]).all(axis="columns")
        values = pd.to_numeric(self.trials.loc[is_run, select]).dropna()
        return float(values.mean()) if len(values) else float(self.winner[select])

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
class FieldComparison:
    """Two values of a compared field, in groups that have equal values of all other fields.

    name: the field. value: compared with `other`, the one whose groups are best on validation.
    comparison: the mean over the pairs of groups of the first minus the second. pairs: how many.
    """

    name: str
    value: str
    other: str
    comparison: Comparison
    pairs: int


@dataclass(frozen=True)
class Groups:
    """The groups of a table, in its order.

    fields: what is grouped by. metric: what the final runs are compared by.
    select, mode: what chooses winners, and whether it is best when large or small.
    notes: lines on how trials ended, and which of them are in no group.
    compared_fields: comparisons of fields' values, in the same family as those of the groups.
    most_seeds: that a row may get, where the sweep looks several times.
    twins: the numbers of two groups that are one row, run twice. noise: the second minus the first.
    """

    fields: tuple[str, ...]
    metric: str
    select: str
    mode: Mode
    groups: list[Group]
    notes: list[str]
    compared_fields: list[FieldComparison] = field(default_factory=list)
    most_seeds: int | None = None
    twins: tuple[int, int] | None = None
    noise: Comparison | None = None

    @property
    def sign(self) -> int:
        """1 where more of the metric is better, else -1."""
        return -1 if self.metric.endswith("loss") else 1

    @property
    def comparisons(self) -> int:
        """How many comparisons have been made."""
        rows = sum(one.comparison is not None for one in self.groups)
        return rows + len(self.compared_fields) + (self.noise is not None)


def judge(table: Groups, within: Sequence[str] = (), with_fields: bool = False) -> Groups:
    """Return the table with intervals, comparisons and marks.

    A family has the same data and the same values of the fields `within`. In it, each group is
    compared with the one that is best on validation, which is not chosen by the metric: the largest
    of many test results would be too good. `with_fields` compares the values of each field too, in
    the same family.
    """
    families: dict[Key, list[Group]] = {}
    for group in table.groups:
        if group.scored is not None:
            values = (group.key[table.fields.index(name)] for name in within)
            families.setdefault((*group.data, *values), []).append(group)
    judged: dict[int, Group] = {}
    compared: list[FieldComparison] = []
    noise: Comparison | None = None
    for groups in families.values():
        if table.metric.startswith(COMPARED_METRICS):
            found, of_fields, of_twins = _judge_family(groups, table, with_fields)
            compared += of_fields
            noise = of_twins or noise
        else:
            found = [_estimated(group, table.metric) for group in groups]
        judged |= {group.number: group for group in found}
    return replace(
        table,
        groups=[judged.get(group.number, group) for group in table.groups],
        compared_fields=compared,
        noise=noise,
    )


def _scored(group: Group) -> Runs:
    assert group.scored is not None
    return group.scored


def _estimated(group: Group, metric: str) -> Group:
    return replace(group, interval=estimate(_scored(group), metric))


def _judge_family(
    groups: Sequence[Group], table: Groups, with_fields: bool
) -> tuple[list[Group], list[FieldComparison], Comparison | None]:
    """Return the groups with intervals and verdicts, the comparisons of fields, and of twins."""
    groups = [
        replace(_estimated(group, table.metric), untested=_why_untested(group)) for group in groups
    ]
    best = _best(groups, table)
    tested = [group for group in groups if not group.untested]
    if best is None or best not in tested:
        why = (
            "there is no winner" if best is None else f"the best on validation has {best.untested}"
        )
        return (
            [replace(group, mark="untested", untested=group.untested or why) for group in groups],
            [],
            None,
        )
    others = [group for group in tested if group is not best]
    if not others:
        return (
            [replace(group, mark="untested", untested=group.untested or ALONE) for group in groups],
            [],
            None,
        )
    place = {group.number: number for number, group in enumerate(tested)}
    weights = np.zeros((len(others), len(tested)))
    for number, group in enumerate(others):
        weights[number, place[group.number]], weights[number, place[best.number]] = 1, -1
    of_fields = _field_weights(tested, table) if with_fields else []
    of_twins = _twin_weights(place, len(tested), table)
    together = np.concatenate([weights, *(row[None] for *_, row in of_fields), of_twins])
    scored = [_scored(group) for group in tested]
    given: dict[int, int] = {}
    if table.most_seeds is None:
        found = compare(scored, together)
    else:
        contest = hold_contest(
            [group.stages for group in tested],
            [group.ended for group in tested],
            together,
            place[best.number],
            table.most_seeds,
        )
        found = compare_in_looks(contest, scored, together)
        given = {group.number: runs for group, runs in zip(tested, contest.given, strict=True)}
    known = {group.number: one for group, one in zip(others, found, strict=False)}
    differences = {place[number]: one for number, one in known.items()}
    unbeaten = may_be_best(len(tested), place[best.number], differences, table.sign)
    marked = [
        replace(
            group,
            mark=_mark(group, best, known, table.sign),
            comparison=known.get(group.number),
            in_best_set=place[group.number] in unbeaten if group.number in place else None,
            given=given.get(group.number),
        )
        for group in groups
    ]
    compared = [
        FieldComparison(name, value, other, one, int(np.count_nonzero(row)) // 2)
        for (name, value, other, row), one in zip(of_fields, found[len(others) :], strict=False)
    ]
    return marked, compared, found[-1] if len(of_twins) else None


def _twin_weights(place: dict[int, int], rows: int, table: Groups) -> Values:
    """Return the contrast of a row that was run twice, (1, rows), or none, (0, rows)."""
    if table.twins is None or not place.keys() >= set(table.twins):
        return np.zeros((0, rows))
    weights = np.zeros((1, rows))
    first, second = (place[number] for number in table.twins)
    weights[0, second], weights[0, first] = 1, -1
    return weights


def _why_untested(group: Group) -> str:
    scored = _scored(group)
    count = len(scored.values)
    first = group.stages[0] if group.stages else scored
    if scored.suffices and first.suffices:
        return ""
    units = "searches" if scored.of_searches else "runs"
    return f"{count} of the {FEWEST} {units} that a comparison needs"


def _best(groups: Sequence[Group], table: Groups) -> Group | None:
    """Return the group that is best on validation."""
    known = [group for group in groups if group.winner]
    outcomes = [(group.winner or {})["outcome"] for group in known]
    scores = [group.chosen_by(table.select) for group in known]
    number = best_index(outcomes, scores, table.mode)
    return None if number is None else known[number]


def _mark(group: Group, best: Group, known: dict[int, Comparison], sign: int) -> Mark:
    if group is best:
        return "best"
    comparison = known.get(group.number)
    if comparison is None:
        return "untested"
    if not comparison.shown:
        return "not shown to differ"
    return "better" if comparison.difference * sign > 0 else "worse"


def _field_weights(groups: Sequence[Group], table: Groups) -> list[tuple[str, str, str, Values]]:
    """Return the contrasts of fields' values: the field, both values, and weights of the groups.

    Each value is compared with that whose groups have the best mean of `select`, in groups that
    differ in no other field.
    """
    found = []
    for place, name in enumerate(table.fields):
        levels: dict[str, dict[Key, int]] = {}
        for number, group in enumerate(groups):
            context = (*group.key[:place], *group.key[place + 1 :])
            levels.setdefault(group.key[place], {}).setdefault(context, number)
        if name in DATA or not 2 <= len(levels) <= MOST_LEVELS:
            continue
        chosen = {
            value: float(np.mean([groups[n].chosen_by(table.select) for n in own.values()]))
            for value, own in levels.items()
        }
        other = (max if table.mode == "max" else min)(chosen, key=lambda one: chosen[one])
        for value, own in levels.items():
            shared = [context for context in own if context in levels[other]]
            if value == other or len(shared) < FEWEST_CONTEXTS:
                continue
            row = np.zeros(len(groups))
            for context in shared:
                row[own[context]], row[levels[other][context]] = 1 / len(shared), -1 / len(shared)
            found.append((name, value, other, row))
    return found
