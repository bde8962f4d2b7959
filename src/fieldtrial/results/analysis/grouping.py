"""Trials -> groups: one for each row of a sweep, or one for each combination of field values.

No trial is dropped without a word: those in no group are counted, with the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fieldtrial.config import FIELDS
from fieldtrial.fields.printable import counted
from fieldtrial.fields.values import format_value
from fieldtrial.results.analysis.footer import outcome_lines
from fieldtrial.results.analysis.groups import Group, Groups, Key
from fieldtrial.results.analysis.judging import estimate_groups, judge
from fieldtrial.results.analysis.winner import (
    RowKey,
    Search,
    Searches,
    best_index,
    default_metric,
    final_note,
    finalist_note,
    find_winners,
    read_searches,
    run_note,
    search_note,
)
from fieldtrial.results.read.inputs import again_lines, each_once, of_one_state, state_of
from fieldtrial.results.read.settings import DATA, RowSettings, apart_line, mixed_line, within_line
from fieldtrial.results.read.sweeps import SWEEP, Sweeps, field_texts
from fieldtrial.results.read.trials import (
    CHOSEN_FROM,
    ENDED_WELL,
    FAILED,
    MEASURES,
    RUN,
    TESTED,
)
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.runs import FinalRun, runs_of
from fieldtrial.results.verdicts.sequential import looks


def group_rows(sweeps: Sweeps, all_pairs: bool = False) -> Groups:
    """Return the groups of a sweep's own table: one for each row of the only sweep in `sweeps`.

    all_pairs: whether each is compared with each, also where the sweep asks for the best alone.
    """
    metric = default_metric(sweeps)
    trials, lines = _in_rows(sweeps)
    groups = row_groups(sweeps, read_searches(sweeps))
    fields = sweeps.only.compared
    problem = _mixed_data(fields, groups)
    if problem:
        lines.append(f"Not compared: {problem}.")
    if shared := int(trials.duplicated(["trial", "role"]).sum()):
        lines.append(
            f"{counted(shared, 'duplicate')}: rows share a trial, which ran once and is counted in"
            " each row."
        )
    most = sweeps.only.most_seeds if sweeps.only.most_seeds > sweeps.only.seeds else None
    groups = [_scored(group, sweeps, metric, most) for group in groups]
    table = _table(sweeps, fields, metric, groups, lines)
    asked = sweeps.only.pairs
    table = replace(table, most_seeds=most, all_pairs=asked or all_pairs, pairs_contested=asked)
    unequal = filter(None, [within_line(fields, [group.key for group in groups], ())])
    table = replace(table, unequal=list(unequal))
    named = tuple(sweeps.only.labels)
    table = replace(table, row_names=named, has_labels=any(sweeps.only.row_labels))
    if sweeps.only.aa:
        table = replace(table, twins=(0, len(groups) - 1))
    return estimate_groups(table) if problem else judge(table, with_fields=True)


def row_groups(sweeps: Sweeps, searches: Searches) -> list[Group]:
    """Return the group of each row of the only sweep in `sweeps`, without what its runs scored."""
    maker = _Maker(sweeps, default_metric(sweeps), searches)
    trials = _in_rows(sweeps)[0]
    return [
        maker.make(row, sweeps.only.cells(row), trials[trials["row"] == row], own)
        for (_, row), own in searches.items()
    ]


def group_trials(
    sweeps: Sweeps,
    fields: Sequence[str],
    metric: str,
    within: Sequence[str] = (),
    all_pairs: bool = False,
) -> Groups:
    """Return the trials grouped by the values of `fields`, and compared by `metric`.

    Groups are compared with those that were tested on the same data, whose rows have equal settings
    beside `fields`, and that have equal values of the fields `within`: with the best of them, or
    each with each. The table says which fields keep groups apart.

    Raises:
        ValueError: a metric that no final run has, or a group whose trials were tested on
            different data.
    """
    _check_metric(sweeps, metric)
    trials, lines = _once(sweeps, fields)
    maker = _Maker(sweeps, metric, read_searches(sweeps))
    texts = {f"key {name}": field_texts(trials, name) for name in fields}
    found: dict[Key, pd.DataFrame] = {}
    searches: dict[Key, list[Search]] = {}
    for key, place in _planned(sweeps, fields):
        found[key] = trials.iloc[:0]
        searches.setdefault(key, []).extend(maker.searches[place])
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
    groups = [_scored(group, sweeps, metric) for group in groups]
    groups, unequal = _set_apart(sweeps, fields, groups, list(_planned(sweeps, fields)))
    stays = {*within} & {*sweeps.unequal}
    unequal += filter(None, [within_line(fields, [group.key for group in groups], stays)])
    table = _table(sweeps, fields, metric, groups, lines)
    return judge(replace(table, all_pairs=all_pairs, unequal=unequal), within)


def _set_apart(
    sweeps: Sweeps,
    fields: Sequence[str],
    groups: Sequence[Group],
    planned: Sequence[tuple[Key, RowKey]],
) -> tuple[list[Group], list[str]]:
    """Return the groups with the number of their settings, and lines on how these differ."""
    settings = RowSettings(sweeps, fields)
    places: dict[Key, list[RowKey]] = {}
    for key, place in planned:
        places.setdefault(key, []).append(place)
    found = []
    for group in groups:
        rows = group.trials[[SWEEP, "row"]].drop_duplicates()
        own = ((name, int(row)) for name, row in rows.itertuples(index=False))
        found.append(settings.of((*places.get(group.key, ()), *own)))
    numbers = {one: number for number, one in enumerate(dict.fromkeys(found))}
    known = [replace(group, alike=numbers[one]) for group, one in zip(groups, found, strict=True)]
    return known, list(filter(None, (apart_line(found), mixed_line(found))))


class _Maker:
    """Makes the groups of one table."""

    def __init__(self, sweeps: Sweeps, metric: str, searches: Searches) -> None:
        self._sweeps, self._metric, self.searches = sweeps, metric, searches
        self._without_winner = [
            (*place, number)
            for place, searches in self.searches.items()
            for number, search in enumerate(searches)
            if search.end == "none"
        ]

    def make(
        self, number: int, key: Key, trials: pd.DataFrame, searches: Sequence[Search]
    ) -> Group:
        """Return a group of `trials`; searches: of the rows that it consists of, where it does.

        Its winner is the best of all winners. Its runs are those of all winners of that one's row:
        each search of a row has its own.
        """
        search, finals = (trials[trials["role"].isin(roles)] for roles in (CHOSEN_FROM, TESTED))
        select, mode = self._sweeps.select, self._sweeps.mode
        found = find_winners(search, select, mode, self._without_winner)
        outcomes, selecting = ([one[name] for one in found] for name in ("outcome", select))
        best = best_index(outcomes, selecting, mode)
        winner = None if best is None else found[best]
        place: RowKey | None = (winner[SWEEP], winner["row"]) if winner else None
        configurations, numbers = finals["configuration"], finals["search"]
        parts = [
            finals[(configurations == one["configuration"]) & (numbers == one["search"])]
            for one in found
            if (one[SWEEP], one["row"]) == place
        ]
        runs = pd.concat(parts) if parts else finals[:0]
        finished = runs[runs["outcome"] == "finished"]
        scores = pd.to_numeric(finished[self._metric], errors="coerce").astype(float)
        tested = finished[np.isfinite(scores.to_numpy())].sort_values(["search", "seed", "fold"])
        scored = len(tested)
        tested, apart = of_one_state(tested, winner)
        values = zip(tested["seed"], tested[self._metric], strict=True)
        known = trials[trials["configuration"].notna()]
        notes = [
            search_note(searches or [Search(search, len(search))], winner is not None),
            finalist_note(searches),
        ]
        own = self.searches[place] if place else []
        decided = sum(one.is_over and not one.is_choosing for one in own)
        if len(trials) and (trials["role"] == RUN).all():
            notes = [run_note(trials, len(finished) - scored)]
        elif winner is not None and (len(runs) or decided):
            seeds = self._sweeps.descriptions[winner[SWEEP]].seeds * max(1, decided)
            notes.append(final_note(runs, len(finished) - scored, seeds, finals))
        return Group(
            number,
            key,
            trials,
            winner,
            runs,
            finals=tested,
            values={int(seed): float(value) for seed, value in values},
            ended=int(runs["outcome"].isin((*ENDED_WELL, *FAILED)).sum()),
            data=tuple(" and ".join(dict.fromkeys(field_texts(known, name))) for name in DATA),
            note="; ".join(filter(None, (*notes, *apart))),
            state=state_of(tested),
            apart=scored - len(tested),
            expected=sum(one.expected for one in searches),
            repeated=sum(one.repeated for one in searches),
        )


def _scored(group: Group, sweeps: Sweeps, metric: str, most_seeds: int | None = None) -> Group:
    """Return the group with what its final runs scored, read from their predictions.

    most_seeds: that a row may get, if the table is looked at several times.
    """
    if not len(group.finals):
        return group
    scored, unscored = _score(group.finals, sweeps, metric)
    plan = looks(most_seeds) if most_seeds else []
    stages = (_score(group.finals.head(runs), sweeps, metric)[0] for runs in plan)
    return replace(group, scored=scored, unscored=unscored, stages=tuple(stages))


def _score(tested: pd.DataFrame, sweeps: Sweeps, metric: str) -> tuple[Runs, str]:
    """Return what the runs scored, and why scores on images are missing, or nothing."""
    results = tested.filter(regex="^test_").select_dtypes("number").dropna(axis=1)
    if "test_loss" not in results:  # equal accuracies alone do not make runs equal
        results = tested[["trial"]]
    split, folders = metric.partition("_")[0], sweeps.folders
    images = tested.get(f"{split}_images", pd.Series(0, tested.index)).fillna(0)
    columns = [tested[name] for name in (SWEEP, "trial", metric, "search")]
    answers = results.itertuples(index=False, name=None)
    given = zip(*columns, images, tested["folds"], tested["fold"], answers, strict=True)
    runs = [
        FinalRun(folders[sweep].run(trial), float(value), int(search), answer, *map(int, counts))
        for sweep, trial, value, search, *counts, answer in given
    ]
    return runs_of(runs, metric)


def _table(
    sweeps: Sweeps, fields: Sequence[str], metric: str, groups: list[Group], lines: Sequence[str]
) -> Groups:
    notes = [*outcome_lines(sweeps, groups, metric), *lines]
    return Groups(tuple(fields), metric, sweeps.select, sweeps.mode, groups, notes)


def _check_metric(sweeps: Sweeps, metric: str) -> None:
    finals = sweeps.trials[sweeps.trials["role"].isin(TESTED)]
    numbers = finals.drop(
        columns=[*FIELDS, "row", "search", "winner"], errors="ignore"
    ).select_dtypes("number")
    there = [str(name) for name in numbers.columns if numbers[name].notna().any()]
    if metric not in (*there, *MEASURES):
        raise ValueError(
            f"--metric {metric}: no final run has it; there are: {', '.join(there) or 'none yet'}"
        )


def _in_rows(sweeps: Sweeps) -> tuple[pd.DataFrame, list[str]]:
    """Return the trials of rows and searches that the sweeps have, and lines on the others."""
    trials, lines = sweeps.trials, list(sweeps.left_out)
    role = trials["role"]
    if count := int((role == "source").sum()):
        lines.append(f"{counted(count)} left out: sources, from whose weights others start.")
    if len(unlisted := trials[role == "unlisted"]):
        lines.append(
            f"{counted(len(unlisted))} left out: not in a sweep's list, such as"
            f" {unlisted['trial'].iloc[0]}."
        )
    trials = trials[role.isin((*CHOSEN_FROM, "finalist", *TESTED))]
    sizes = {name: (len(one.rows), one.searches) for name, one in sweeps.descriptions.items()}
    rows, searches = (
        trials[SWEEP].map({name: size[place] for name, size in sizes.items()}).astype("Int64")
        for place in (0, 1)  # Int64 also where there is no trial
    )
    outside = trials["row"].isna() | (trials["row"] >= rows) | (trials["search"] >= searches)
    if count := int(outside.sum()):
        lines.append(f"{counted(count)} left out: of no row or search that the sweep has now.")
    return trials[~outside], lines


def _once(sweeps: Sweeps, fields: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the trials that can be grouped by `fields`, each once, and lines on the others."""
    trials, lines = _in_rows(sweeps)
    unknown = trials["configuration"].isna()
    if count := int((unknown & (trials["outcome"] == "waiting")).sum()):
        lines.append(f"{counted(count)} left out: listed, and not yet begun.")
    trials = trials[~unknown]
    again = {name: len(one.rows) - 1 for name, one in sweeps.descriptions.items() if one.aa}
    is_again = trials["row"] == trials[SWEEP].map(again)
    if count := int(is_again.sum()):
        lines.append(f"{counted(count)} left out: of a first row that was run once more (--aa).")
    trials = trials[~is_again.fillna(False)]
    same = ["trial", "role", *([SWEEP] if SWEEP in fields else [])]
    places = list(trials[same].itertuples(index=False, name=None))
    kept = each_once(places, trials, list(trials["outcome"].isin(ENDED_WELL)))
    if repeated := len(trials) - len(kept):
        lines.append(
            f"{counted(repeated, 'duplicate')}: the same trial in several rows or sweeps, counted"
            " once."
        )
    trials = trials.iloc[kept]
    return trials, lines + again_lines(trials, same)


def _planned(sweeps: Sweeps, fields: Sequence[str]) -> Iterator[tuple[Key, RowKey]]:
    """Yield the key of each row, so that rows without a trial are in the table too.

    Nothing is yielded where the search, or the source of the weights, decides about keys or
    conditions. Rows that the conditions exclude are left out.
    """
    has_source = any(one.source is not None for one in sweeps.descriptions.values())
    undecided = {*sweeps.searched, *(["weights"] if has_source else [])}
    if (names := {*fields, *sweeps.conditions}) & undecided:
        return
    for sweep, description in sweeps.descriptions.items():
        for number, config in enumerate(description.row_configs):
            texts = {n: format_value(getattr(config, n)) for n in names - {SWEEP}} | {SWEEP: sweep}
            is_again = description.aa and number == len(description.rows) - 1
            chosen = all(texts[name] in values for name, values in sweeps.conditions.items())
            if chosen and not is_again:
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
