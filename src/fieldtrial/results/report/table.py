"""A sweep's table in HTML's terms, and the estimates that are drawn beside it."""

import re
from typing import Any

import pandas as pd

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import is_share
from fieldtrial.panel.terminal import format_hours
from fieldtrial.results.analysis.cost import Account, account, cost_of_trials
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.read.trials import RUN
from fieldtrial.results.read.wording import outcome_text, p_text, signed_text, span_text
from fieldtrial.results.report.data import label
from fieldtrial.results.report.sentences import interval_text, mean_text
from fieldtrial.results.report.tested import ComparedRows
from fieldtrial.results.table.cells import ENSEMBLE
from fieldtrial.results.table.render import NOTHING, Cell, Grid
from fieldtrial.results.verdicts.comparisons import Comparison

OUTCOMES = ("finished", "stopped", "failed", "unreadable", "running", "waiting")
LONGEST = 24  # letters; a longer cell is folded


def html_table(grid: Grid) -> dict[str, Any]:
    """Return heads, and cells with their text, what they are sorted by, and their style."""
    heads = [{"name": name, "left": place < grid.fields} for place, name in enumerate(grid.header)]
    rows = [
        [_cell(cell, place < grid.fields) for place, cell in enumerate(row)] for row in grid.rows
    ]
    return {"heads": heads, "rows": rows, "sortable": len(rows) > 1}


def pairs_table(tested: ComparedRows) -> dict[str, Any] | None:
    """Return the differences of every pair of rows, None where these are not compared.

    heads: the rows' numbers in the table's order, from 1. rows: number, label, and a cell for each
    head with the row's mean minus the head's, whether it is shown, and its interval and p.
    """
    pairs = {(one.first, one.second): one.comparison for one in tested.table.compared_pairs}
    pairs |= {(second, first): one.reversed() for (first, second), one in pairs.items()}
    compared = sorted({number for pair in pairs for number in pair})
    if not compared:
        return None
    rows = []
    for first in compared:
        cells = [_pair_cell(tested.metric, pairs.get((first, second))) for second in compared]
        rows.append({"number": first + 1, "label": tested.labels[first], "cells": cells})
    return {"heads": [number + 1 for number in compared], "rows": rows}


def _pair_cell(metric: str, one: Comparison | None) -> dict[str, Any]:
    if one is None:  # the row itself, or one on other data
        return {"text": NOTHING, "shown": False, "title": ""}
    title = f"{span_text(metric, one.low, one.high)}, {p_text(one.corrected_p)}"
    return {"text": signed_text(metric, one.difference), "shown": one.shown, "title": title}


def facts(
    tested: ComparedRows,
    trials: pd.DataFrame,
    records: pd.DataFrame,
    description: SweepDescription,
) -> list[dict[str, str]]:
    """Return the figures at the top of the report: name, value and remark of each."""
    outcomes = trials.drop_duplicates("trial")["outcome"].value_counts()
    parts = [f"{outcomes[name]:,} {outcome_text(name)}" for name in OUTCOMES if name in outcomes]
    cost = account(trials, cost_of_trials(records, trials))
    parts_of_cost = [
        f"{format_hours(hours)} {where}"
        for hours, where in (
            (cost.outside, "outside of epochs"),
            (cost.repeated, "in epochs done again"),
        )
        if hours > 0
    ]
    is_by_hand = (trials["role"] == RUN).any()
    searches = f"{description.searches} searches of " if description.searches > 1 else ""
    finalists = f", {description.finalists} finalists" if description.finalists > 1 else ""
    first = f"{int(description.seeds)} to " if description.most_seeds > description.seeds else ""
    folds = description.folds
    repeated = counted(folds or description.most_seeds, "fold" if folds else "fresh seed")
    return [
        _best(tested),
        {"name": "Trials", "value": f"{int(outcomes.sum()):,}", "remark": ", ".join(parts)},
        {
            "name": "Rows",
            "value": f"{len(description.rows):,}",
            "remark": "a configuration each, of runs of no sweep"
            if is_by_hand
            else f"{searches}{counted(description.trials_per_search)}{finalists} and"
            f" {first}{repeated} for each",
        },
        {
            "name": "Device-hours",
            "value": format_hours(cost.total),
            "remark": f"of them {' and '.join(parts_of_cost)}" if parts_of_cost else "in epochs",
        },
        *([_energy(cost)] if cost.measured else []),
    ]


def _energy(cost: Account) -> dict[str, str]:
    shared = f"; others used the devices of {cost.sharing}, too" if cost.sharing else ""
    remark = f"of {counted(cost.measured)}: of GPUs or, without, of processors{shared}"
    return {"name": "kWh", "value": format_hours(cost.energy), "remark": remark}


def _best(tested: ComparedRows) -> dict[str, str]:
    name = label(tested.metric).removesuffix(" (%)").capitalize()
    if len(tested.best) != 1:
        remark = (
            "rows are tested on different data" if tested.groups else "no row has been tested yet"
        )
        return {"name": name, "value": NOTHING, "remark": remark}
    (best,) = tested.best
    interval = tested.interval(best)
    metric = tested.metric
    remark = f"{tested.labels[best]}, the best on validation; {interval_text(metric, interval)}"
    return {"name": name, "value": mean_text(metric, interval), "remark": remark}


def estimates(tested: ComparedRows, ensemble: Group | None = None) -> list[dict[str, Any]]:
    """Return the tested rows, the best first: label, mean, ends of the interval and text.

    marked: whether no comparison shows the row to be beaten. The ensemble of the winners is last.
    """
    scale, found = 100 if is_share(tested.metric) else 1, []
    known = [(tested.labels[row], tested.groups[row]) for row in tested.best_first]
    for name, group in [*known, *([(ENSEMBLE, ensemble)] if ensemble else [])]:
        interval = group.interval
        assert interval
        ends = [
            None if end is None else round(scale * end, 4)
            for end in (interval.low, interval.mean, interval.high)
        ]
        found.append(
            {
                "label": name,
                "low": ends[0],
                "mean": ends[1],
                "high": ends[2],
                "text": f"{name}: {mean_text(tested.metric, interval)}"
                f" ({interval_text(tested.metric, interval)})",
                "marked": bool(group.in_best_set),
            }
        )
    return found


def _cell(cell: Cell, left: bool) -> dict[str, str]:
    number = re.match(r"-?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w:])", cell.text)
    value = cell.text if left else number[0].replace(",", "") if number else ""
    wide = "wide" if len(cell.text) > LONGEST else ""
    classes = ["" if left else "number", wide, "best" if cell.strong else ""]
    return {"text": cell.marked, "value": value, "classes": " ".join(filter(None, classes))}
