"""A sweep's summary as the report shows it: the table in HTML's terms, and the estimates that are
drawn beside it.
"""

import re
from typing import Any

import pandas as pd

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.results.analysis.summary import Summary
from fieldtrial.results.report.comparisons import Tested
from fieldtrial.results.report.data import is_share, label
from fieldtrial.results.report.findings import estimate_text
from fieldtrial.results.table.formats import MARK, NOTHING, header
from fieldtrial.results.table.of_sweep import human_cells

ENDS = {
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "unreadable": "unreadable",
    "running": "running or interrupted",
    "waiting": "waiting",
}
LONGEST = 24  # letters; a longer cell is folded


def summary_table(summary: Summary, tested: Tested) -> dict[str, Any]:
    """Return the table of rows: its heads, and cells with their text, what they are sorted by, and
    their style.
    """
    cells = human_cells(summary)
    left = [str(name) in summary.fields for name in cells]
    heads = [
        {"name": str(name), "left": is_left} for name, is_left in zip(cells, left, strict=True)
    ]
    rows = [
        [_cell(str(text), is_left) for text, is_left in zip(row, left, strict=True)]
        for row in cells.to_numpy()
    ]
    place = list(cells).index(header(summary.test))
    for number in tested.set_off:
        cell = rows[number][place]
        cell |= {"text": f"{cell['text']} {MARK}", "classes": f"{cell['classes']} best".strip()}
    return {"heads": heads, "rows": rows, "sortable": len(rows) > 1}


def facts(
    summary: Summary,
    trials: pd.DataFrame,
    records: pd.DataFrame,
    description: SweepDescription,
    tested: Tested,
) -> list[dict[str, str]]:
    """Return the figures at the top of the report: name, value and remark of each."""
    outcomes = trials.drop_duplicates("trial")["outcome"].value_counts()
    parts = [f"{outcomes[name]:,} {text}" for name, text in ENDS.items() if name in outcomes]
    hours = float((records["seconds"] * records["world_size"]).sum()) / 3600
    again = float((records["repeated_seconds"] * records["world_size"]).sum()) / 3600
    return [
        _best(tested),
        {"name": "Trials", "value": f"{int(outcomes.sum()):,}", "remark": ", ".join(parts)},
        {
            "name": "Rows",
            "value": f"{len(summary.rows):,}",
            "remark": (f"{description.trials} trials and {description.seeds} fresh seeds for each"),
        },
        {
            "name": "Device-hours",
            "value": f"{hours:.3g}",
            "remark": "in epochs" + (f", and {again:.2g} in epochs done again" if again else ""),
        },
    ]


def _best(tested: Tested) -> dict[str, str]:
    name = label(tested.metric).removesuffix(" (%)").capitalize()
    if len(tested.best) != 1:
        remark = (
            "rows are tested on different data" if tested.best else "no row has been tested yet"
        )
        return {"name": name, "value": NOTHING, "remark": remark}
    values = list(tested.values[tested.best[0]].values())
    remark = f"{tested.labels[tested.best[0]]}, the best on validation (n = {len(values)})"
    return {"name": name, "value": estimate_text(values, tested.metric), "remark": remark}


def estimates(
    summary: Summary, description: SweepDescription, tested: Tested
) -> list[dict[str, Any]]:
    """Return the rows that have been tested, the best first: label, mean, half-width of the
    interval and text.

    marked: whether a row is the best on validation, or tested and not shown to be worse.
    """
    scale = 100 if is_share(summary.test) else 1
    rows = [row for row in summary.rows.to_dict("records") if row["n"]]
    labels, found = description.labels, []
    for row in sorted(
        rows, key=lambda row: row[f"{summary.test}_mean"], reverse=description.mode == "max"
    ):
        mean, half = row[f"{summary.test}_mean"], row[f"{summary.test}_half_width_95"]
        name = labels[row["row"]]
        interval = "" if half is None else f" ± {scale * half:.4g}"
        found.append(
            {
                "label": name,
                "mean": round(scale * mean, 4),
                "half": None if half is None else round(scale * half, 4),
                "text": f"{name}: {scale * mean:.4g}{interval} (n = {row['n']})",
                "marked": row["row"] in tested.set_off,
            }
        )
    return found


def _cell(text: str, left: bool) -> dict[str, str]:
    number = re.match(r"-?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w:])", text)
    value = text if left else number[0].replace(",", "") if number else ""
    classes = ["" if left else "number", "wide" if len(text) > LONGEST else ""]
    return {"text": text, "value": value, "classes": " ".join(filter(None, classes))}
