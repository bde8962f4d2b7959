"""A sweep's summary as the report shows it: the table in HTML's terms, and the estimates that are drawn beside it."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from fieldtrial.results.report_comparisons import Tested
from fieldtrial.results.report_data import is_share, label, row_labels
from fieldtrial.results.summary import Summary
from fieldtrial.results.table import human_cells

ENDS = {
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "unreadable": "unreadable",
    "running": "running or interrupted",
    "waiting": "waiting",
}
LONGEST = 24  # letters; a longer cell is folded


def summary_table(summary: Summary) -> dict[str, Any]:
    """Return the table of rows: its heads, and cells with their text, what they are sorted by, and their style."""
    cells = human_cells(summary)
    left = [str(name) in summary.fields for name in cells]
    heads = [{"name": str(name), "left": is_left} for name, is_left in zip(cells, left, strict=True)]
    rows = [
        [_cell(str(text), is_left) for text, is_left in zip(row, left, strict=True)]
        for row in cells.itertuples(index=False)
    ]
    return {"heads": heads, "rows": rows, "sortable": len(rows) > 1}


def facts(
    summary: Summary, trials: pd.DataFrame, records: pd.DataFrame, description: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Return the figures at the top of the report: name, value and remark of each."""
    outcomes = trials.drop_duplicates("trial")["outcome"].value_counts()
    parts = [f"{outcomes[name]:,} {text}" for name, text in ENDS.items() if name in outcomes]
    hours = float((records["seconds"] * records["world_size"]).sum()) / 3600
    again = float((records["repeated_seconds"] * records["world_size"]).sum()) / 3600
    return [
        _best(summary, description),
        {"name": "Trials", "value": f"{int(outcomes.sum()):,}", "remark": ", ".join(parts)},
        {
            "name": "Rows",
            "value": f"{len(summary.rows):,}",
            "remark": f"{description['trials']} trials and {description['seeds']} fresh seeds for each",
        },
        {
            "name": "Device-hours",
            "value": f"{hours:.3g}",
            "remark": "in epochs" + (f", and {again:.2g} in epochs done again" if again else ""),
        },
    ]


def _best(summary: Summary, description: Mapping[str, Any]) -> dict[str, str]:
    tested = [row for row in summary.rows.to_dict("records") if row["n"]]
    name = f"Best {label(summary.test).removesuffix(' (%)')}"
    if not tested:
        return {"name": name, "value": "–", "remark": "no row has been tested yet"}
    sign = 1 if description["mode"] == "max" else -1
    best = max(tested, key=lambda row: sign * row[f"{summary.test}_mean"])
    mean, half = best[f"{summary.test}_mean"], best[f"{summary.test}_half_width_95"]
    scale, digits, unit = (100, 2, " %") if is_share(summary.test) else (1, 4, "")
    interval = "" if half is None else f" ± {scale * half:.{digits}f}"
    return {
        "name": name,
        "value": f"{scale * mean:.{digits}f}{interval}{unit}",
        "remark": f"{row_labels(description['rows'])[best['row']]} (n = {best['n']})",
    }


def estimates(summary: Summary, description: Mapping[str, Any], tested: Tested) -> list[dict[str, Any]]:
    """Return the rows that have been tested, the best first: label, mean, half-width of the interval and text.

    marked: whether a row is the best, or not shown to be worse.
    """
    scale = 100 if is_share(summary.test) else 1
    rows = [row for row in summary.rows.to_dict("records") if row["n"]]
    labels, found = row_labels(description["rows"]), []
    for row in sorted(rows, key=lambda row: row[f"{summary.test}_mean"], reverse=description["mode"] == "max"):
        mean, half = row[f"{summary.test}_mean"], row[f"{summary.test}_half_width_95"]
        name = labels[row["row"]]
        interval = "" if half is None else f" ± {scale * half:.4g}"
        found.append(
            {
                "label": name,
                "mean": round(scale * mean, 4),
                "half": None if half is None else round(scale * half, 4),
                "text": f"{name}: {scale * mean:.4g}{interval} (n = {row['n']})",
                "marked": row["row"] == tested.best or row["row"] in tested.level,
            }
        )
    return found


def _cell(text: str, left: bool) -> dict[str, str]:
    number = re.match(r"-?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w:])", text)
    value = text if left else number[0].replace(",", "") if number else ""
    classes = ["" if left else "number", "wide" if len(text) > LONGEST else ""]
    return {"text": text, "value": value, "classes": " ".join(filter(None, classes))}
