"""A sweep's trials -> one summary a row of its table: the winner on validation, its fresh-seed runs
on test.

The split that selects is never the split that is reported: a winner is chosen among the search
trials by their validation alone, and test comes from the final runs of that very winner alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from pandas.api.types import is_scalar

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields import format_value
from fieldtrial.results.analysis.statistics import estimate_seeds
from fieldtrial.results.read.trials import ENDED_WELL, FAILED, load
from fieldtrial.results.read.wording import counted

Row = dict[str, Any]
End = Literal["winner", "none"]  # what a search ended with
OUTCOMES = {"stopped": "stopped early"}  # the others are called what they are


@dataclass(frozen=True)
class Summary:
    """A sweep's table, at full precision: `rows` has one row for each of the sweep's, in its order.

    fields: the columns of `rows` that the sweep compares; searched: those that it tunes (the
    winner's values).
    select, test: the metric that selects, on validation, and its counterpart on test.
    footer: what is not in the table and why, and how every trial ended.
    """

    name: str
    fields: list[str]
    searched: Mapping[str, SearchDomain]
    select: str
    rows: pd.DataFrame
    footer: list[str]

    @property
    def test(self) -> str:
        """The reported metric: the counterpart on test of the one that selects."""
        return test_metric(self.select)


def test_metric(select: str) -> str:
    """Return the counterpart on test of a metric on validation: validation_accuracy ->
    test_accuracy.
    """
    return "test_" + select.removeprefix("validation_")


def summarise(folder: SweepFolder, trials: pd.DataFrame | None = None) -> Summary:
    """Return the table of the sweep in `folder`, from its files alone; `trials` is what `load`
    says, if that is known.

    Raises:
        FileNotFoundError: it is not a sweep's folder.
        ValueError: the sweep has no rows, or its description cannot be read.
    """
    description = folder.require_description()
    trials = load(folder.path) if trials is None else trials
    sources = trials[trials["role"] == "source"]
    ends = searches_over(folder)
    rows = [
        _summarise_row(
            number, trials[trials["row"] == number], sources, ends.get(number), description
        )
        for number in range(len(description.rows))
    ]
    return Summary(
        name=description.name,
        fields=description.compared,
        searched=description.search,
        select=description.select,
        rows=pd.DataFrame(
            rows, dtype=object
        ),  # as they are: whole numbers stay whole beside missing cells
        footer=_account(trials, rows, description.max_failures),
    )


def searches_over(folder: SweepFolder) -> dict[int, End]:
    """Return how the searches ended that are over: those whose last word is the naming of the
    winner, or of none.
    """
    last = {
        entry["row"]: entry for entry in folder.trials() if entry["role"] in ("search", "winner")
    }
    return {
        row: "winner" if entry["trial"] else "none"
        for row, entry in last.items()
        if entry["role"] == "winner"
    }


def _summarise_row(
    number: int,
    trials: pd.DataFrame,
    sources: pd.DataFrame,
    end: End | None,
    description: SweepDescription,
) -> Row:
    """Return one row of the table; None where there is no value, and `note` says why.

    end: of its search, None while that is under way.
    """
    select, test = description.select, test_metric(description.select)
    config = description.row_configs[number]
    search, finals = trials[trials["role"] == "search"], trials[trials["role"] == "final"]
    winner = None if end == "none" else find_winner(search, select, description.mode)
    own = (
        finals[finals["configuration"] == winner["configuration"]]
        if winner is not None
        else finals.iloc[:0]
    )
    finished = own[own["outcome"] == "finished"]
    tested = finished[finished[test].notna()]
    estimate = estimate_seeds(tested[test].astype(float).tolist()) if len(tested) else None
    wanted = description.trials_per_row
    search_note = (
        _search_note(search, wanted, end) if len(trials) or end else _source_note(config, sources)
    )
    missing_finals = final_note(own, len(finished) - len(tested), description.seeds)
    if winner is None or (search_note and own.empty):
        missing_finals = ""  # no final run is due yet
    best = winner or {}
    return {
        "row": number,
        **{name: _cell(getattr(config, name)) for name in description.compared},
        **{
            name: None if winner is None else _cell(winner.get(name)) for name in description.search
        },
        select: best.get(select),
        f"{test}_mean": estimate and estimate.mean,
        f"{test}_half_width_95": estimate and estimate.half_width,
        "n": len(tested),
        "trainable_parameters": best.get("trainable_parameters"),
        "parameters": best.get("parameters"),
        "minutes": (
            float(tested["minutes"].astype(float).mean()) if len(tested) else best.get("minutes")
        ),
        "winner": best.get("trial"),
        "search_trials": len(search),
        "search_repeated": max(0, wanted - len(search)) if end else 0,
        "search_stopped_early": int((search["outcome"] == "stopped").sum()),
        "search_failed": int(search["outcome"].isin(FAILED).sum()),
        "final_failed": int(own["outcome"].isin(FAILED).sum()),
        "final_left_out": len(finals) - len(own),
        "note": "; ".join(filter(None, (search_note, missing_finals))),
    }


def _cell(value: object) -> object:
    """Return a field's value as a cell: a number as it is, all else as it stands on a
    command line.
    """
    return value if type(value) in (int, float) else format_value(value)


def find_winner(search: pd.DataFrame, select: str, mode: str) -> Row | None:
    """Return the trial that the sweep named the winner; before that, the best so far; None if there
    is none.

    Best is the `select` of a trial's best epoch, among trials trained to the end if there are any,
    ties going to the
    one listed first: as the sweep does it.
    """
    ended = search[search["outcome"].isin(ENDED_WELL) & search[select].notna()]
    for candidates in (ended[ended["winner"]], ended[ended["outcome"] == "finished"], ended):
        if len(candidates):
            values = pd.to_numeric(candidates[select])
            best = candidates[
                candidates.index == (values.idxmax() if mode == "max" else values.idxmin())
            ]
            return to_rows(best)[0]
    return None


def to_rows(trials: pd.DataFrame) -> list[Row]:
    """Return the trials' columns, None where there is no value."""
    return [
        {
            str(name): None if is_scalar(value) and pd.isna(value) else value
            for name, value in record.items()
        }
        for record in trials.to_dict("records")
    ]


def _source_note(config: TrainConfig, sources: pd.DataFrame) -> str:
    """Return why a row without any trial has none: its source failed, or it is not its turn yet.

    A row's source is the one that has the row's values wherever the sources differ: they differ in
    architecture only.
    """
    known = to_rows(sources[sources["configuration"].notna()])
    differing = [name for name in FIELDS if len({source[name] for source in known}) > 1]
    own = [
        source
        for source in known
        if all(source[name] == getattr(config, name) for name in differing)
    ]
    failed = [source for source in own if source["outcome"] in FAILED]
    reasons = [
        f"its source {source['trial']} failed: {reason_of(pd.DataFrame([source]))}"
        for source in failed
    ]
    return "; ".join(reasons) or "not started"


def _search_note(search: pd.DataFrame, wanted: int, end: End | None) -> str:
    """Return what is missing of a row's search, or nothing."""
    failed = search[search["outcome"].isin(FAILED)]
    ended = len(failed) + int(search["outcome"].isin(ENDED_WELL).sum())
    if end is None and (search.empty or (search["outcome"] == "waiting").all()):
        return "not started"
    if ended < len(search) or (
        ended < wanted and not end
    ):  # a search that proposes a trial again has fewer of them
        return f"{ended} of {max(wanted, len(search))} searched" + (
            f", {len(failed)} failed" if len(failed) else ""
        )
    if len(failed) and len(failed) == ended:
        return f"{all_of(len(failed))} failed: {reason_of(failed)}"
    return (
        f"none of {ended} trials can be the winner, {len(failed)} failed" if end == "none" else ""
    )


def final_note(finals: pd.DataFrame, untested: int, seeds: int) -> str:
    """Return what is missing of the winner's runs with fresh seeds, or nothing."""
    if not seeds:
        return "no final runs asked for"
    failed = finals[finals["outcome"].isin(FAILED)]
    if len(failed) == max(seeds, len(finals)):
        return f"{all_of(len(failed), 'final run')} failed: {reason_of(failed)}"
    counts = finals["outcome"].replace("unreadable", "failed").value_counts()
    parts = [
        f"{counts[outcome]} {OUTCOMES.get(outcome, outcome)}"
        for outcome in ("failed", "stopped", "running")
        if outcome in counts
    ]
    to_come = max(0, seeds - len(finals)) + int(counts.get("waiting", 0))
    parts += [f"{to_come} not started"] if to_come else []
    parts += [f"{untested} without a test result"] if untested else []
    return f"final: {', '.join(parts)}" if parts else ""


def all_of(count: int, what: str = "trial") -> str:
    """Return 'the only trial' or 'all 3 trials'."""
    return f"the only {what}" if count == 1 else f"all {count} {what}s"


def reason_of(failed: pd.DataFrame) -> str:
    """Return why trials failed: the first one's message where all failed alike, else how many
    failed of what.
    """
    kinds = failed["error_kind"].value_counts()
    if len(kinds) == 1:
        return f"{failed['error_kind'].iloc[0]}: {failed['error_message'].iloc[0]}"
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _account(trials: pd.DataFrame, rows: list[Row], max_failures: int | None) -> list[str]:
    """Return the lines below the table: how every trial ended, and which are left out and why."""
    lines = [_count_all(trials)]
    in_table = trials[trials["role"].isin(("search", "final"))]
    lines += remarks(trials)
    for kind, failed in trials[trials["outcome"].isin(FAILED)].groupby("error_kind"):
        first = failed.iloc[0]
        lines.append(
            f"{counted(len(failed))} left out: {kind}, such as {first['trial']}:"
            f" {first['error_message']}"
        )
    errors = trials[trials["outcome"].isin(FAILED) & (trials["error_kind"] != "diverged")][
        "trial"
    ].nunique()
    if errors and max_failures is not None:
        lines.append(
            f"{counted(errors)} failed, not counting diverged ones; the sweep stops after"
            f" {max_failures}."
        )
    if earlier := sum(row["final_left_out"] for row in rows):
        lines.append(
            f"{counted(earlier, 'final run')} left out: not of the present winner of the row."
        )
    if repeated := sum(row["search_repeated"] for row in rows):
        lines.append(
            f"{counted(repeated, 'duplicate')}: a search proposed what it had tried, which ran"
            " once."
        )
    shared = int(in_table["trial"].duplicated().sum())
    if shared:
        lines.append(
            f"{counted(shared, 'duplicate')}: rows share a trial, which ran once and is counted in"
            " each row."
        )
    if outside := int((in_table["row"].isna() | (in_table["row"] >= len(rows))).sum()):
        lines.append(f"{counted(outside)} left out: of no row that the sweep has now.")
    if len(unlisted := trials[trials["role"] == "unlisted"]):
        lines.append(
            f"{counted(len(unlisted))} left out: not in the sweep's list, such as"
            f" {unlisted['trial'].iloc[0]}."
        )
    return lines


def remarks(trials: pd.DataFrame) -> list[str]:
    """Return lines on the trials that are in the table and were not run as they were asked to."""
    lines = []
    if stopped := int(((trials["role"] == "search") & (trials["outcome"] == "stopped")).sum()):
        lines.append(f"{counted(stopped)} stopped early: ranked by the best epoch before the stop.")
    cut = trials.loc[trials["accumulate"].notna(), "trial"].drop_duplicates()
    if len(cut):
        names = ", ".join(cut)
        lines.append(
            f"{counted(len(cut))} ran with their batches cut: they did not fit at once: {names}."
        )
    return lines


def _count_all(trials: pd.DataFrame) -> str:
    parts = []
    for role, group in trials.groupby("role", sort=False):
        counts = group["outcome"].value_counts()
        parts.append(
            f"{len(group)} {role}"
            f" ({', '.join(f'{n} {OUTCOMES.get(str(name), name)}' for name, n in counts.items())})"
        )
    return f"Trials: {', '.join(parts)}." if parts else "No trial has been started."
