"""Trials -> groups: one for each row of a sweep, or one for each combination of field values.

No trial is dropped without a word: those in no group are counted, with the reason.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fieldtrial.config import FIELDS
from fieldtrial.fields.values import format_value
from fieldtrial.results.analysis.footer import outcome_lines
from fieldtrial.results.analysis.groups import DATA, Group, Groups, Key, judge
from fieldtrial.results.analysis.winner import (
    RowKey,
    Search,
    TrialValues,
    best_index,
    final_note,
    find_winner,
    read_searches,
    search_note,
    test_metric,
)
from fieldtrial.results.read.sweeps import SWEEP, Sweeps, field_texts
from fieldtrial.results.read.trials import ENDED_WELL, MEASURES
from fieldtrial.results.read.wording import counted
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.runs import FinalRun, runs_of


def group_rows(sweeps: Sweeps) -> Groups:
    """Return the groups of a sweep's own table: one for each row of the only sweep in `sweeps`."""
    metric = test_metric(sweeps.select)
    trials, lines = _in_rows(sweeps)
    groups = row_groups(sweeps)
    fields = sweeps.only.compared
    problem = _mixed_data(fields, groups)
    if problem:
        lines.append(f"Not compared: {problem}.")
    if shared := int(trials.duplicated(["trial", "role"]).sum()):
        lines.append(
            f"{counted(shared, 'duplicate')}: rows share a trial, which ran once and is counted in"
            " each row."
        )
    table = _table(sweeps, fields, metric, groups, lines)
    return table if problem else judge(table, with_fields=True)


def row_groups(sweeps: Sweeps) -> list[Group]:
    """Return the group of each row of the only sweep in `sweeps`, not yet compared."""
    maker, trials = _Maker(sweeps, test_metric(sweeps.select)), _in_rows(sweeps)[0]
    return [
        maker.make(row, sweeps.only.cells(row), trials[trials["row"] == row], [search])
        for (_, row), search in maker.searches.items()
    ]


def group_trials(
    sweeps: Sweeps, fields: Sequence[str], metric: str, within: Sequence[str] = ()
) -> Groups:
    """Return the trials grouped by the values of `fields`, and compared by `metric`.

    Groups are compared with those that have equal values of the fields `within`.

    Raises:
        ValueError: a metric that no final run has, or a group whose trials were tested on
            different data.
    """
    _check_metric(sweeps, metric)
    trials, lines = _once(sweeps, fields)
    maker = _Maker(sweeps, metric)
    texts = {f"key {name}": field_texts(trials, name) for name in fields}
    found: dict[Key, pd.DataFrame] = {}
    searches: dict[Key, list[Search]] = {}
    for key, place in _planned(sweeps, fields):
        found[key] = trials.iloc[:0]
        searches.setdefault(key, []).append(maker.searches[place])
    if fields:
        parts = trials.assign(**texts).groupby(list(texts), sort=False)
        found |= {tuple(map(str, key)): trials.loc[part.index] for key, part in parts}
    else:
        found[()] = trials
    groups = [
        maker.make(number, key, part, searches.get(key, []))
        for number, (key, part) in enumerate(found.items())
    ]
    if problem := _mixed_data(fields, groups):
        raise ValueError(problem)
    return judge(_table(sweeps, fields, metric, groups, lines), within)


class _Maker:
    """Makes the groups of one table."""

    def __init__(self, sweeps: Sweeps, metric: str) -> None:
        self._sweeps, self._metric = sweeps, metric
        self.searches = read_searches(sweeps)
        self._without_winner = [p for p, one in self.searches.items() if one.end == "none"]

    def make(
        self, number: int, key: Key, trials: pd.DataFrame, searches: Sequence[Search]
    ) -> Group:
        """Return a group of `trials`; searches: of the rows that it consists of, where it does."""
        search, finals = (trials[trials["role"] == role] for role in ("search", "final"))
        winner = self._winner(search)
        runs = finals[finals["configuration"] == winner["configuration"]] if winner else finals[:0]
        finished = runs[runs["outcome"] == "finished"]
        scores = pd.to_numeric(finished[self._metric], errors="coerce").astype(float)
        tested = finished[np.isfinite(scores.to_numpy())]
        values = zip(tested["seed"], tested[self._metric], strict=True)
        scored, unscored = self._score(tested) if len(tested) else (None, "")
        known = trials[trials["configuration"].notna()]
        note = search_note(searches or [Search(search, len(search))], winner is not None)
        if winner is not None and (len(runs) or self._is_complete(winner)):
            seeds = self._sweeps.descriptions[winner[SWEEP]].seeds
            missing = final_note(runs, len(finished) - len(tested), seeds)
            note = "; ".join(filter(None, (note, missing)))
        return Group(
            number,
            key,
            trials,
            winner,
            runs,
            finals=tested,
            values={int(seed): float(value) for seed, value in values},
            scored=scored,
            unscored=unscored,
            data=tuple(" and ".join(dict.fromkeys(field_texts(known, name))) for name in DATA),
            note=note,
            expected=sum(one.expected for one in searches),
            repeated=sum(one.repeated for one in searches),
        )

    def _score(self, tested: pd.DataFrame) -> tuple[Runs, str]:
        """Return what the distinct runs scored, and why scores on images are missing, if so."""
        names = [name for name in tested.columns if str(name).startswith("test_")]
        results = tested[names].select_dtypes("number").dropna(axis=1)
        if "test_loss" not in results:  # equal accuracies alone do not make runs equal
            results = tested[["trial"]]
        split = self._metric.partition("_")[0]
        images = tested.get(f"{split}_images", pd.Series(0, tested.index)).fillna(0)
        columns = (tested[SWEEP], tested["trial"], tested[self._metric], images)
        answers = results.itertuples(index=False, name=None)
        runs = [
            FinalRun(self._sweeps.folders[sweep].run(trial), float(value), 0, answer, int(count))
            for sweep, trial, value, count, answer in zip(*columns, answers, strict=True)
        ]
        return runs_of(runs, self._metric)

    def _winner(self, search: pd.DataFrame) -> TrialValues | None:
        """Return the best winner of rows, without rows that have none by the sweep's own word."""
        select, mode = self._sweeps.select, self._sweeps.mode
        found = [
            find_winner(part, select, mode)
            for place, part in search.groupby([SWEEP, "row"], sort=False)
            if place not in self._without_winner
        ]
        winners = [winner for winner in found if winner]
        outcomes, scores = ([winner[name] for winner in winners] for name in ("outcome", select))
        place = best_index(outcomes, scores, mode)
        return None if place is None else winners[place]

    def _is_complete(self, winner: TrialValues) -> bool:
        """Return whether the search of the winner's row is over, so that its final runs are due."""
        place: RowKey = winner[SWEEP], winner["row"]
        return not search_note([self.searches[place]], has_winner=True)


def _table(
    sweeps: Sweeps, fields: Sequence[str], metric: str, groups: list[Group], lines: Sequence[str]
) -> Groups:
    notes = [*outcome_lines(sweeps, groups, metric), *lines]
    return Groups(tuple(fields), metric, sweeps.select, sweeps.mode, groups, notes)


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


def _in_rows(sweeps: Sweeps) -> tuple[pd.DataFrame, list[str]]:
    """Return the search and final trials of rows that the sweeps have, and lines on the others."""
    trials, lines = sweeps.trials, list(sweeps.left_out)
    role = trials["role"]
    if count := int((role == "source").sum()):
        lines.append(f"{counted(count)} left out: sources, from whose weights others start.")
    if len(unlisted := trials[role == "unlisted"]):
        lines.append(
            f"{counted(len(unlisted))} left out: not in a sweep's list, such as"
            f" {unlisted['trial'].iloc[0]}."
        )
    trials = trials[role.isin(("search", "final"))]
    sizes = {name: len(one.rows) for name, one in sweeps.descriptions.items()}
    rows = trials[SWEEP].map(sizes).astype("Int64")  # also where there is no trial
    outside = trials["row"].isna() | (trials["row"] >= rows)
    if count := int(outside.sum()):
        lines.append(f"{counted(count)} left out: of no row that the sweep has now.")
    return trials[~outside], lines


def _once(sweeps: Sweeps, fields: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the trials that can be grouped by `fields`, each once, and lines on the others."""
    trials, lines = _in_rows(sweeps)
    unknown = trials["configuration"].isna()
    if count := int((unknown & (trials["outcome"] == "waiting")).sum()):
        lines.append(f"{counted(count)} left out: listed, and not yet begun.")
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


def _planned(sweeps: Sweeps, fields: Sequence[str]) -> Iterator[tuple[Key, RowKey]]:
    """Yield the key of each row, so that rows without a trial are in the table too.

    Nothing is yielded where the search, or the source of the weights, decides about keys or
    conditions. Rows that the conditions exclude are left out.
    """
    has_source = any(one.source is not None for one in sweeps.descriptions.values())
    undecided = {*sweeps.searched, *(["weights"] if has_source else [])}
    if {*fields, *sweeps.conditions} & undecided:
        return
    for sweep, description in sweeps.descriptions.items():
        for number, config in enumerate(description.row_configs):
            texts = {SWEEP: sweep, **{name: format_value(getattr(config, name)) for name in FIELDS}}
            if all(texts[name] in values for name, values in sweeps.conditions.items()):
                yield tuple(texts[name] for name in fields), (sweep, number)


def _mixed_data(fields: Sequence[str], groups: Sequence[Group]) -> str:
    """Return which group was tested on different data, or nothing."""
    for group in groups:
        for name, texts in zip(DATA, group.data, strict=True):
            if " and " in texts:
                pairs = zip(fields, group.key, strict=True)
                where = " ".join(f"{field}={value}" for field, value in pairs) or "all"
                return (
                    f"{where}: trials of {name} {texts} would be mixed; add {name} to --rows or"
                    f" --columns, or choose with --where {name}=…"
                )
    return ""
