"""A sweep's table in HTML's terms, and the estimates that are drawn beside it."""

import re
from typing import Any

import pandas as pd

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.panel import format_hours
from fieldtrial.results.read.wording import counted, is_share, outcome_text
from fieldtrial.results.report.comparisons import RowComparisons
from fieldtrial.results.report.data import label
from fieldtrial.results.report.findings import estimate_text
from fieldtrial.results.table.render import NOTHING, Cell, Grid

OUTCOMES = ("finished", "stopped", "failed", "unreadable", "running", "waiting")
LONGEST = 24  # letters; a longer cell is folded


def html_table(grid: Grid) -> dict[str, Any]:
    """Return heads, and cells with their text, what they are sorted by, and their style."""
    heads = [{"name": name, "left": place < grid.fields} for place, name in enumerate(grid.header)]
    rows = [
        [_cell(cell, place < grid.fields) for place, cell in enumerate(row)] for row in grid.rows
    ]
    return {"heads": heads, "rows": rows, "sortable": len(rows) > 1}


def facts(
    tested: RowComparisons,
    trials: pd.DataFrame,
    records: pd.DataFrame,
    description: SweepDescription,
) -> list[dict[str, str]]:
    """Return the figures at the top of the report: name, value and remark of each."""
    outcomes = trials.drop_duplicates("trial")["outcome"].value_counts()
    parts = [
        f"{outcomes[name]:,} {outcome_text(name)}"
        + (" or interrupted" if name == "running" else "")
        for name in OUTCOMES
        if name in outcomes
    ]
    hours = float((records["seconds"] * records["world_size"]).sum()) / 3600
    again = float((records["repeated_seconds"] * records["world_size"]).sum()) / 3600
    repeated = f", and {format_hours(again)} in epochs done again" if again else ""
    searches = f"{description.searches} searches of " if description.searches > 1 else ""
    finalists = f", {description.finalists} finalists" if description.finalists > 1 else ""
    return [
        _best(tested),
        {"name": "Trials", "value": f"{int(outcomes.sum()):,}", "remark": ", ".join(parts)},
        {
            "name": "Rows",
            "value": f"{len(description.rows):,}",
            "remark": f"{searches}{counted(description.trials_per_search)}{finalists} and"
            f" {counted(description.seeds, 'fresh seed')} for each",
        },
        {
            "name": "Device-hours",
            "value": format_hours(hours),
            "remark": f"in epochs{repeated}",
        },
    ]


def _best(tested: RowComparisons) -> dict[str, str]:
    name = label(tested.metric).removesuffix(" (%)").capitalize()
    if len(tested.best) != 1:
        remark = (
            "rows are tested on different data" if tested.groups else "no row has been tested yet"
        )
        return {"name": name, "value": NOTHING, "remark": remark}
    (best,) = tested.best
    values = list(tested.groups[best].values.values())
    remark = f"{tested.labels[best]}, the best on validation (n = {len(values)})"
    return {"name": name, "value": estimate_text(values, tested.metric), "remark": remark}


def estimates(tested: RowComparisons) -> list[dict[str, Any]]:
    """Return the tested rows, the best first: label, mean, half-width of the interval and text.

    marked: whether a row is the best on validation, or tested and not shown to be worse.
    """
    scale, found = 100 if is_share(tested.metric) else 1, []
    for number in tested.best_first:
        group, name = tested.groups[number], tested.labels[number]
        assert group.estimate
        mean, half, n = group.estimate
        interval = "" if half is None else f" ± {scale * half:.4g}"
        found.append(
            {
                "label": name,
                "mean": round(scale * mean, 4),
                "half": None if half is None else round(scale * half, 4),
                "text": f"{name}: {scale * mean:.4g}{interval} (n = {n})",
                "marked": group.is_set_off,
            }
        )
    return found


def _cell(cell: Cell, left: bool) -> dict[str, str]:
    number = re.match(r"-?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w:])", cell.text)
    value = cell.text if left else number[0].replace(",", "") if number else ""
    wide = "wide" if len(cell.text) > LONGEST else ""
    classes = ["" if left else "number", wide, "best" if cell.strong else ""]
    return {"text": cell.marked, "value": value, "classes": " ".join(filter(None, classes))}
