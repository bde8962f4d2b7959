"""Trials grouped by config fields: each group's winner, chosen on validation, and its runs with
fresh seeds, on test.

Nothing is dropped in silence: what is in no group is counted, with the reason.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from fieldtrial.config import FIELDS
from fieldtrial.fields import format_value
from fieldtrial.results.analysis.statistics import Comparison, Estimate, compare, estimate_seeds
from fieldtrial.results.analysis.summary import (
    Row,
    Summary,
    all_of,
    final_note,
    find_winner,
    reason_of,
    remarks,
    searches_over,
)
from fieldtrial.results.read.sweeps import SWEEP, Sweeps, field_texts
from fieldtrial.results.read.trials import ENDED_WELL, FAILED, MEASURES
from fieldtrial.results.read.wording import counted

Key = tuple[str, ...]
# How a group stands to the best of those that it is compared with; untested: too few seeds to tell.
Mark = Literal["best", "not distinguishable", "better", "worse", "untested", "none"]
SET_OFF = ("best", "not distinguishable", "better")  # marks of what stands out in a table
DATA = ("dataset", "classes")  # what is tested on: scores on different data are not compared
COMPARED_METRICS = ("test_", "validation_")  # those of which it is known whether more is better


@dataclass(frozen=True)
class Group:
    """The trials that share the values `key` of the fields that are grouped by.

    trials: its search and final trials, each once. winner: the best of the search on validation,
    None if there is none.
    finals: the winner's runs with fresh seeds that were trained to the end. values: {seed: the
    metric} of those.
    data: what it was tested on. note: what is missing, and why. other_finals: runs with fresh seeds
    of earlier winners.
    mark: how it stands to the best of its family; comparison: the best minus this one.
    """

    key: Key
    trials: pd.DataFrame
    winner: Row | None
    finals: pd.DataFrame
    values: dict[int, float]
    data: Key
    note: str
    other_finals: int
    mark: Mark = "none"
    comparison: Comparison | None = None

    @property
    def estimate(self) -> Estimate | None:
        """The mean over the seeds; with fewer than three there is no interval. None without a
        value.
        """
        return estimate_seeds(list(self.values.values())) if self.values else None


@dataclass(frozen=True)
class Groups:
    """All groups, in the order in which the sweeps list them, and what is in none of them."""

    fields: tuple[str, ...]
    metric: str
    select: str
    groups: list[Group]
    left_out: list[str]


def group_trials(
    sweeps: Sweeps, fields: Sequence[str], metric: str, within: Sequence[str] = ()
) -> Groups:
    """Return the trials grouped by the values of `fields`, with `metric` over the seeds of each
    group's winner.

    Within a family, which has the same data and the same values of the fields `within`, each group
    is compared with the one that is best on validation. It is chosen on validation, not by the
    metric, so that the comparisons are not bent by having looked for the largest of many numbers
    first.

    Raises:
        ValueError: a metric that no final run has, or a group whose trials were tested on different
        data.
    """
    _check_metric(sweeps, metric)
    trials, left_out = _once(sweeps, fields)
    ends = {
        (name, row): end
        for name, folder in sweeps.folders.items()
        for row, end in searches_over(folder).items()
    }
    over = {
        place for place, end in ends.items() if end == "none"
    }  # the sweep says that there is no winner
    keyed = trials.assign(**{f"key {name}": field_texts(trials, name) for name in fields})
    names = [f"key {name}" for name in fields]
    found: dict[Key, pd.DataFrame] = dict.fromkeys(_planned(sweeps, fields), trials.iloc[:0])
    if names:
        parts = keyed.groupby(names, sort=False)
        found |= {tuple(map(str, key)): trials.loc[part.index] for key, part in parts}
    else:
        found[()] = trials
    groups = [_make_group(key, part, sweeps, metric, over) for key, part in found.items()]
    _check_data(fields, groups)
    left_out += _account_metric(groups, metric)
    marked = mark_groups(groups, fields, metric, within, sweeps.select, sweeps.mode)
    return Groups(tuple(fields), metric, sweeps.select, marked, left_out)


def groups_of_rows(groups: Groups, summary: Summary) -> dict[int, Group]:
    """Return the group of each row of a sweep's table, where the groups are by the fields that the
    sweep compares.
    """
    by_key = {group.key: group for group in groups.groups}
    rows = [
        tuple(format_value(row[name]) for name in summary.fields)
        for row in summary.rows.to_dict("records")
    ]
    return {number: by_key[key] for number, key in enumerate(rows) if key in by_key}


def _check_metric(sweeps: Sweeps, metric: str) -> None:
    finals = sweeps.trials[sweeps.trials["role"] == "final"]
    numbers = finals.drop(columns=[*FIELDS, "row", "winner"], errors="ignore").select_dtypes(
        "number"
    )
    there = [str(name) for name in numbers.columns if numbers[name].notna().any()]
    if metric not in (*there, *MEASURES):
        raise ValueError(
            f"--metric {metric}: no final run has it; there are: {', '.join(there) or 'none yet'}"
        )


def _once(sweeps: Sweeps, fields: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the search and final trials that can be grouped, each once, and lines about the
    others.
    """
    trials, lines = sweeps.trials, list(sweeps.left_out)
    role = trials["role"]
    for name, text in (
        ("source", "sources, from whose weights others start"),
        ("unlisted", "not in a sweep's list"),
    ):
        if count := int((role == name).sum()):
            lines.append(f"{counted(count)} left out: {text}.")
    trials = trials[role.isin(("search", "final"))]
    rows = trials[SWEEP].map({name: len(one.rows) for name, one in sweeps.descriptions.items()})
    outside = trials["row"].isna() | (trials["row"] >= rows)
    if count := int(outside.sum()):
        lines.append(f"{counted(count)} left out: of no row that the sweep has now.")
    trials = trials[~outside]
    unknown = trials["configuration"].isna()
    for outcome, part in trials[unknown].groupby("outcome", sort=False):
        why = f"unreadable, such as {part['trial'].iloc[0]}: {part['error_message'].iloc[0]}"
        lines.append(
            f"{counted(len(part))} left out:"
            f" {why if outcome == 'unreadable' else 'listed, and not yet begun'}."
        )
    trials = trials[~unknown]
    same = ["trial", "role", *([SWEEP] if SWEEP in fields else [])]
    ended = trials["outcome"].isin(ENDED_WELL)
    order = pd.concat([trials[ended], trials[~ended]])  # of two copies, the one that has ended
    kept = order.index[~order.duplicated(same)]
    if repeated := len(trials) - len(kept):
        lines.append(
            f"{counted(repeated, 'duplicate')}: the same trial in several rows or sweeps, counted"
            " once."
        )
    return trials.loc[kept.sort_values()], lines


def _planned(sweeps: Sweeps, fields: Sequence[str]) -> Iterator[Key]:
    """Yield the keys of the sweeps' rows, where the search does not decide them: rows without
    trials are there too.

    Rows that the conditions on trials exclude are not.
    """
    if sweeps.left_out or {*fields, *sweeps.conditions} & set(sweeps.searched):
        return
    for sweep, description in sweeps.descriptions.items():
        for config in description.row_configs:
            texts = {SWEEP: sweep, **{name: format_value(getattr(config, name)) for name in FIELDS}}
            if all(texts[name] in values for name, values in sweeps.conditions.items()):
                yield tuple(texts[name] for name in fields)


def _make_group(
    key: Key, trials: pd.DataFrame, sweeps: Sweeps, metric: str, over: set[tuple[str, int]]
) -> Group:
    search, finals = trials[trials["role"] == "search"], trials[trials["role"] == "final"]
    winners = [
        find_winner(part, sweeps.select, sweeps.mode)
        for place, part in search.groupby([SWEEP, "row"], sort=False)
        if place not in over
    ]
    winner = _best([one for one in winners if one], sweeps.select, sweeps.mode)
    own = finals[finals["configuration"] == winner["configuration"]] if winner else finals.iloc[:0]
    finished = own[own["outcome"] == "finished"]
    scores = zip(finished["seed"], pd.to_numeric(finished[metric], errors="coerce"), strict=True)
    values = {int(seed): float(value) for seed, value in scores if math.isfinite(value)}
    data = tuple(" and ".join(dict.fromkeys(field_texts(trials, name))) for name in DATA)
    if winner is None:
        note = _why_no_winner(search)
    else:
        seeds = sweeps.descriptions[winner[SWEEP]].seeds
        live = int((~search["outcome"].isin((*ENDED_WELL, *FAILED))).sum())
        missing = (
            final_note(own, len(finished) - len(values), seeds) if len(own) or not live else ""
        )
        note = "; ".join(
            filter(None, [f"{counted(live)} of the search not ended" if live else "", missing])
        )
    return Group(key, trials, winner, finished, values, data, note, len(finals) - len(own))


def _best(winners: Sequence[Row], select: str, mode: str) -> Row | None:
    """Return the best winner of several rows: among those trained to the end if there are any, the
    first of equals.
    """
    candidates = [winner for winner in winners if winner["outcome"] == "finished"] or winners
    sign = 1 if mode == "max" else -1
    return max(candidates, key=lambda winner: sign * winner[select], default=None)


def _why_no_winner(search: pd.DataFrame) -> str:
    failed = search[search["outcome"].isin(FAILED)]
    if len(failed) and len(failed) == len(search):
        return f"{all_of(len(failed))} failed: {reason_of(failed)}"
    ended = len(failed) + int(search["outcome"].isin(ENDED_WELL).sum())
    return (
        f"{ended} of {counted(len(search))} ended, {len(failed)} failed" if ended else "not started"
    )


def _check_data(fields: Sequence[str], groups: Sequence[Group]) -> None:
    for group in groups:
        for name, texts in zip(DATA, group.data, strict=True):
            if " and " in texts:
                where = (
                    " ".join(
                        f"{field}={value}" for field, value in zip(fields, group.key, strict=True)
                    )
                    or "all"
                )
                raise ValueError(
                    f"{where}: trials of {name} {texts} would be mixed; add {name} to --rows or"
                    f" --columns, or choose with --where {name}=…"
                )


def _account_metric(groups: Sequence[Group], metric: str) -> list[str]:
    lines = []
    if without := sum(len(group.finals) - len(group.values) for group in groups):
        lines.append(f"{counted(without, 'final run')} left out: without a finite {metric}.")
    if other := sum(group.other_finals for group in groups):
        lines.append(
            f"{counted(other, 'final run')} left out: not of the present winner of the group."
        )
    trials = pd.concat([group.trials for group in groups])
    lines += remarks(trials)
    for kind, part in trials[trials["outcome"].isin(FAILED)].groupby("error_kind"):
        first = part.iloc[0]
        lines.append(
            f"{counted(len(part))} failed: {kind}, such as {first['trial']}:"
            f" {first['error_message']}"
        )
    return lines


def mark_groups(
    groups: list[Group],
    fields: Sequence[str],
    metric: str,
    within: Sequence[str],
    select: str,
    mode: str,
) -> list[Group]:
    """Return the groups with their marks: those of a family are compared with its best on
    validation.

    select: the metric on validation that chooses it; mode: whether its max or its min is best.
    """
    if not metric.startswith(COMPARED_METRICS):
        return groups
    families: dict[Key, list[Group]] = {}
    for group in groups:
        if group.values and group.winner:
            values = (group.key[fields.index(name)] for name in within)
            families.setdefault((*group.data, *values), []).append(group)
    marked = {
        group.key: group
        for family in families.values()
        for group in _compare_family(family, metric, select, mode)
    }
    return [marked.get(group.key, group) for group in groups]


def _compare_family(family: Sequence[Group], metric: str, select: str, mode: str) -> list[Group]:
    """Return the family's groups with their marks."""
    winners = {id(group.winner): group for group in family}
    chosen = _best([group.winner for group in family if group.winner], select, mode)
    best = winners[id(chosen)]
    values = {group.key: group.values for group in family}
    pairs = [(best.key, group.key) for group in family if group is not best]
    known = {
        comparison.second: comparison
        for comparison in compare(values, pairs, _resolution(family, metric))
    }
    less_is_more = metric.endswith("loss")
    marked = []
    for group in family:
        comparison = known.get(group.key)
        mark: Mark = "best"
        if comparison is None:
            mark = "best" if any(one.p is not None for one in known.values()) else "untested"
        elif comparison.p is None:
            mark = "untested"
        elif not comparison.shown:
            mark = "not distinguishable"
        else:
            mark = "worse" if (comparison.difference > 0) != less_is_more else "better"
        marked.append(replace(group, mark=mark, comparison=comparison))
    return marked


def _resolution(family: Sequence[Group], metric: str) -> float:
    """Return the step in which an accuracy is counted: one image of those that it was
    measured on.
    """
    split = metric.partition("_")[0]
    images = [
        group.finals.get(f"{split}_images", pd.Series()).astype(float).min() for group in family
    ]
    known = [number for number in images if number > 0]
    return 1 / min(known) if known and metric.endswith("accuracy") else 0.0
