"""The winners of searches, and why there is none, or what is missing of their final runs."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.own.names import is_option
from fieldtrial.results.read.sweeps import SWEEP, Sweeps
from fieldtrial.results.read.trials import CHOSEN_FROM, ENDED_WELL, FAILED, RUN, search_of
from fieldtrial.results.read.wording import outcome_text

TrialValues = dict[str, Any]
RowKey = tuple[str, int]  # a sweep's name, and the number of one of its rows
SearchKey = tuple[str, int, int]  # the same, and the number of one of the row's searches
# What a search ended with: a winner, none, or finalists, of which the winner is yet to be chosen.
End = Literal["finalists", "winner", "none"]


@dataclass(frozen=True)
class Search:
    """How far a search of a row is.

    trials: its search trials so far. wanted: how many it may try. end: None while it is under way.
    problem: why the row cannot begin, empty if nothing is known to hinder it.
    finalists: how the runs of its finalists ended so far. most_finalists: how many configurations
    may be finalists. seeds: how many runs each has.
    """

    trials: pd.DataFrame
    wanted: int
    end: End | None = None
    problem: str = ""
    finalists: Sequence[str] = ()
    most_finalists: int = 1
    seeds: int = 0

    @property
    def expected(self) -> int:
        """The number of trials at its end: less than `wanted` where it proposed some twice."""
        return len(self.trials) if self.end else max(self.wanted, len(self.trials))

    @property
    def repeated(self) -> int:
        """The number of proposals that had been tried before."""
        return self.wanted - self.expected if self.end and self.wanted > self.expected else 0

    @property
    def is_over(self) -> bool:
        """Whether all trials that it proposes have ended."""
        return not search_note([self], has_winner=True)

    @property
    def expected_finalists(self) -> int:
        """The number of runs of finalists at its end."""
        if self.end in ("winner", "none"):
            return len(self.finalists)
        well = int(self.trials["outcome"].isin(ENDED_WELL).sum())
        chosen = min(self.most_finalists, well) if self.is_over else self.most_finalists
        return max(len(self.finalists), chosen * self.seeds if chosen > 1 else 0)

    @property
    def is_choosing(self) -> bool:
        """Whether the winner is yet to be chosen from finalists."""
        is_named = self.end in ("winner", "none")
        return self.is_over and not is_named and self.expected_finalists > 0


Searches = Mapping[RowKey, Sequence[Search]]  # of each row, as `read_searches` returns them


def test_metric(select: str) -> str:
    """Return the counterpart on test: validation_accuracy -> test_accuracy."""
    return "test_" + select.removeprefix("validation_")


def default_metric(sweeps: Sweeps) -> str:
    """Return what rows are compared by: the test result or, if only runs of no sweep are there and
    none of them was tested, what chose their epochs on validation.
    """
    metric = test_metric(sweeps.select)
    trials = sweeps.trials
    is_by_hand = len(trials) and (trials["role"] == RUN).all()
    return sweeps.select if is_by_hand and trials[metric].isna().all() else metric


def best_index(outcomes: Sequence[str], values: Sequence[float], mode: Mode) -> int | None:
    """Return the index of the best trial in the sequences, None if they are empty.

    Trials that were trained to the end go before those that were stopped early. Of equal values,
    the first wins.
    """
    finished = [place for place, outcome in enumerate(outcomes) if outcome == "finished"]
    sign = 1 if mode == "max" else -1
    places = finished or range(len(outcomes))
    return max(places, key=lambda place: sign * values[place], default=None)


def find_winners(
    trials: pd.DataFrame, select: str, mode: Mode, without: Collection[SearchKey] = ()
) -> list[TrialValues]:
    """Return the winner of each search that search trials of `Sweeps` are of, in order.

    Searches that have none are left out, and so are those of `without`.
    """
    parts = trials.groupby([SWEEP, "row", "search"], sort=False)
    found = [find_winner(part, select, mode) for place, part in parts if place not in without]
    return [winner for winner in found if winner]


def find_winner(search: pd.DataFrame, select: str, mode: Mode) -> TrialValues | None:
    """Return the trial of a search that the sweep named the winner; before that, the best so far.

    Returns None if none ended well.
    """
    ended = search["outcome"].isin(ENDED_WELL) & search[select].notna()
    named = ended & search["winner"].astype(bool)
    # Single columns are asked for: a selection of rows copies each of the hundred columns.
    places = np.flatnonzero(named if named.any() else ended)
    values = pd.to_numeric(search[select].iloc[places]).tolist()
    best = best_index(search["outcome"].iloc[places].tolist(), values, mode)
    return None if best is None else to_values(search.iloc[[places[best]]])[0]


def to_values(trials: pd.DataFrame) -> list[TrialValues]:
    """Return the columns of each trial, None where there is no value."""
    names = list(map(str, trials))
    columns = (column.tolist() for _, column in trials.items())
    blank = trials.isna().to_numpy()  # of a list, whether there is one
    return [
        {
            name: None if is_blank else value
            for name, value, is_blank in zip(names, values, of_trial, strict=True)
        }
        for values, of_trial in zip(zip(*columns, strict=True), blank, strict=True)
    ]


def read_searches(sweeps: Sweeps) -> dict[RowKey, list[Search]]:
    """Return the searches of each row of each sweep, all of their trials included."""
    found: dict[RowKey, list[Search]] = {}
    for name, description in sweeps.descriptions.items():
        frame, ends = sweeps.frames[name], _ends(sweeps.folders[name])
        sources = frame[frame["role"] == "source"]
        for number, config in enumerate(description.row_configs):
            row = frame[frame["row"] == number]
            problem = "" if len(row) else _source_problem(config, sources)
            for search in range(description.searches):
                trials = row[row["search"] == search]
                one = Search(
                    trials[trials["role"].isin(CHOSEN_FROM)],
                    description.trials_per_search,
                    ends.get((number, search)),
                    problem,
                    trials.loc[trials["role"] == "finalist", "outcome"].tolist(),
                    description.finalists,
                    description.seeds,
                )
                found.setdefault((name, number), []).append(one)
    return found


def _ends(folder: SweepFolder) -> dict[tuple[int, int], End]:
    """Return how searches (row, search) ended, by the last entry of each in the sweep's list."""
    ends: dict[tuple[int, int], End | None] = {}
    for entry in folder.trials():
        if entry["role"] == "winner":
            ends[search_of(entry)] = "winner" if entry["trial"] else "none"
        elif entry["role"] in ("search", "finalist"):
            ends[search_of(entry)] = "finalists" if entry["role"] == "finalist" else None
    return {place: end for place, end in ends.items() if end}


def _source_problem(config: TrainConfig, sources: pd.DataFrame) -> str:
    """Return why the source of a row failed, or nothing.

    Sources differ in architecture only. A row's source has the row's values wherever they differ.
    """
    if sources.empty:
        return ""
    known = to_values(sources[sources["configuration"].notna()])
    names = [*FIELDS, *filter(is_option, known[0] if known else ())]
    differing = [name for name in names if len({source[name] for source in known}) > 1]
    return "; ".join(
        f"its source {source['trial']} failed: {source['error_kind']}: {source['error_message']}"
        for source in known
        if source["outcome"] in FAILED
        and all(source[name] == getattr(config, name) for name in differing)
    )


def search_note(searches: Sequence[Search], has_winner: bool) -> str:
    """Return what is missing of the searches of a group's rows, or why they have no winner."""
    outcomes = Counter(outcome for search in searches for outcome in search.trials["outcome"])
    failed = [reason for search in searches for reason in _reasons(search.trials)]
    ended = len(failed) + sum(outcomes[outcome] for outcome in ENDED_WELL)
    expected = sum(search.expected for search in searches)
    if not any(search.end for search in searches) and outcomes.keys() <= {"waiting"}:
        return "; ".join(filter(None, (search.problem for search in searches))) or "not started"
    if ended < expected:
        return f"{ended} of {expected} searched" + (f", {len(failed)} failed" if failed else "")
    if failed and len(failed) == ended:
        return f"{_all_of(len(failed))} failed: {_said(failed)}"
    return "" if has_winner else f"none of {counted(ended)} can be the winner, {len(failed)} failed"


def finalist_note(searches: Sequence[Search]) -> str:
    """Return how far the finalists of a group's rows are, or that they could not decide."""
    choosing = [search for search in searches if search.is_choosing]
    if choosing:
        ended = sum(
            one in (*ENDED_WELL, *FAILED) for search in choosing for one in search.finalists
        )
        return f"{ended} of {sum(one.expected_finalists for one in choosing)} runs of finalists"
    undecided = [
        search
        for search in searches
        if search.end == "winner" and search.finalists and "finished" not in search.finalists
    ]
    return "no run of a finalist ended well, so the search chose the winner" if undecided else ""


def run_note(runs: pd.DataFrame, untested: int) -> str:
    """Return what is missing of runs of no sweep, or nothing."""
    failed = _reasons(runs)
    if failed and len(failed) == len(runs):
        return f"{_all_of(len(failed), 'run')} failed: {_said(failed)}"
    counts = runs["outcome"].replace("unreadable", "failed").value_counts()
    words = {"failed": "failed", "stopped": "stopped early"}
    words |= {"running": outcome_text("running"), "waiting": "not begun"}
    parts = [f"{counts[name]} {text}" for name, text in words.items() if name in counts]
    parts += [f"{untested} without a test result"] if untested else []
    return ", ".join(parts)


def final_note(finals: pd.DataFrame, untested: int, seeds: int, known: pd.DataFrame) -> str:
    """Return what is missing of a winner's runs with fresh seeds, or nothing.

    known: the final runs of any winner, among them those that have no config that can be read.
    """
    if not seeds:
        return "no final runs asked for"
    failed = _reasons(finals)
    if len(failed) == max(seeds, len(finals)):
        return f"{_all_of(len(failed), 'final run')} failed: {_said(failed)}"
    counts = finals["outcome"].replace("unreadable", "failed").value_counts()
    parts = [
        f"{counts[outcome]} {outcome_text(outcome)}"
        for outcome in ("failed", "stopped", "running")
        if outcome in counts
    ]
    lacking = max(0, seeds - len(finals))
    unreadable = known["configuration"].isna() & (known["outcome"] == "unreadable")
    damaged = min(int(unreadable.sum()), lacking)
    to_come = lacking - damaged + int(counts.get("waiting", 0))
    parts += [f"{damaged} unreadable"] if damaged else []
    parts += [f"{to_come} not started"] if to_come else []
    parts += [f"{untested} without a test result"] if untested else []
    return f"final: {', '.join(parts)}" if parts else ""


def _all_of(count: int, what: str = "trial") -> str:
    return f"the only {what}" if count == 1 else f"all {count} {what}s"


def _reasons(trials: pd.DataFrame) -> list[tuple[str, str]]:
    """Return kind and message of each failed trial."""
    failed = trials["outcome"].isin(FAILED)
    columns = (trials.loc[failed, name] for name in ("error_kind", "error_message"))
    return list(zip(*columns, strict=True))


def _said(reasons: Sequence[tuple[str, str]]) -> str:
    """Return the first reason where all are of one kind, else how many are of each kind."""
    kinds = Counter(kind for kind, _ in reasons)
    if len(kinds) == 1:
        return ": ".join(reasons[0])
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
