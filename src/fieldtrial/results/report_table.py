"""A sweep's summary as the report shows it: the table in HTML's terms, and the estimates that are drawn beside it."""

import re
from collections.abc import Mapping
from typing import Any

from fieldtrial.results.report_data import is_share, row_label
from fieldtrial.results.summary import Summary
from fieldtrial.results.table import human_cells

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


def estimates(summary: Summary, description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that have been tested, the best first: label, mean, half-width of the interval and text."""
    scale = 100 if is_share(summary.test) else 1
    tested = [row for row in summary.rows.to_dict("records") if row["n"]]
    found = []
    for row in sorted(tested, key=lambda row: row[f"{summary.test}_mean"], reverse=description["mode"] == "max"):
        mean, half = row[f"{summary.test}_mean"], row[f"{summary.test}_half_width_95"]
        label = row_label(row["row"], description["rows"][row["row"]])
        interval = "" if half is None else f" ± {scale * half:.4g}"
        found.append(
            {
                "label": label,
                "mean": round(scale * mean, 4),
                "half": None if half is None else round(scale * half, 4),
                "text": f"{label}: {scale * mean:.4g}{interval} (n = {row['n']})",
                "marked": False,
            }
        )
    return found


def _cell(text: str, left: bool) -> dict[str, str]:
    number = re.match(r"-?[\d,]*\.?\d+(e[+-]?\d+)?(?![\w:])", text)
    value = text if left else number[0].replace(",", "") if number else ""
    classes = ["" if left else "number", "wide" if len(text) > LONGEST else ""]
    return {"text": text, "value": value, "classes": " ".join(filter(None, classes))}
