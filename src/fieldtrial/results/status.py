"""How a sweep stands, from its files alone: what its driver's panel shows, for another shell."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue, run_name
from fieldtrial.panel import RowStanding, Standing, at_work, render_panel
from fieldtrial.processes import is_gone
from fieldtrial.results.analysis.summary import find_winner, searches_over
from fieldtrial.results.read.records import load_records
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.read.trials import FAILED

COUNTED = {
    "finished": "done",
    **dict.fromkeys(FAILED, "failed"),
}  # the other outcomes are called what they are
WIDTH_OF_A_FILE = 400
MOST_ROWS = 1000


def read_standing(folder: SweepFolder) -> Standing:
    """Return how the sweep in `folder` stands. Raises ValueError if it is not a sweep's folder."""
    sweeps = read_sweeps([folder.path])
    trials, records = next(iter(sweeps.frames.values())), load_records(folder.path)
    description = next(iter(sweeps.descriptions.values()))
    fields = description.compared
    begun = trials["outcome"] == "running"
    owner = folder.owner()
    driver = None if owner is None or is_gone(owner) else owner
    since = None if driver is None else driver.get("since", 0.0)
    running = at_work(folder, trials.loc[begun, "trial"].tolist(), since)
    trials.loc[begun & ~trials["trial"].isin(running), "outcome"] = "waiting"
    queue = TaskQueue(folder.queue_path)
    handed_over = set(map(run_name, queue.waiting() | queue.claimed().keys()))
    over = searches_over(folder)
    rows = [
        _row(number, trials[trials["row"] == number], description, number in over)
        for number in range(len(description.rows))
    ]
    sources = _count(trials[trials["role"] == "source"])
    to_do = sum(row.to_do for row in rows) + sources["waiting"] + sources["running"]
    expected = sum(sources.values()) + sum(sum(row.counts.values()) for row in rows)
    return Standing(
        name=folder.name,
        path=str(folder.path),
        fields=fields,
        select=description.select,
        mode=description.mode,
        rows=rows,
        since=_since(records),
        expected=expected,
        ended=expected - to_do,
        slots=sum(counts.get("running", 0) for counts in (sources, *(row.counts for row in rows))),
        device_hours=float((records["seconds"] * records["world_size"]).sum()) / 3600,
        report=str(folder.report_path) if folder.report_path.exists() else None,
        news=[_whose(driver)] if to_do else [],
        sources=sources,
        queued=len(handed_over & set(trials.loc[trials["outcome"] == "waiting", "trial"])),
    )


def _whose(driver: Mapping[str, Any] | None) -> str:
    if driver is None:
        return "no driver runs it: the command that began it goes on"
    return "run by {user} on {host}, process {process}".format(**driver)


def _row(
    number: int,
    trials: pd.DataFrame,
    description: SweepDescription,
    over: bool,
) -> RowStanding:
    """Return how one row stands; over: whether its search is, which may have proposed fewer trials
    than its budget.
    """
    search, finals = trials[trials["role"] == "search"], trials[trials["role"] == "final"]
    budget = 0 if over else description.trials_per_row
    seconds = trials["minutes"].astype(float).fillna(0.0) * 60
    counts = _count(trials)
    best = find_winner(search, description.select, description.mode)
    own = (
        finals if best is None else finals[finals["configuration"] == best["configuration"]]
    )  # not of earlier winners
    counts["waiting"] += max(0, budget - len(search)) + max(0, description.seeds - len(own))
    live = trials["outcome"].isin(("waiting", "running"))
    return RowStanding(
        cells=description.cells(number),
        counts=dict(counts),
        best=None if best is None else float(best[description.select]),
        tested=int((~own["outcome"].isin(("waiting", "running"))).sum()),
        seeds=description.seeds,
        ended_seconds=seconds[~live].tolist(),
        live_seconds=seconds[live].tolist(),
    )


def _count(trials: pd.DataFrame) -> Counter[str]:
    return Counter(COUNTED.get(outcome, outcome) for outcome in trials["outcome"])


def _since(records: pd.DataFrame) -> str:
    """Return how long ago the newest record was written: whether anything is under way cannot be
    seen more surely.
    """
    newest = records["time"].max()
    if pd.isna(newest):
        return "no record yet"
    ago = max(0, int(time.time() - newest))
    return f"newest record {ago} s ago" if ago < 120 else f"newest record {ago // 60} minutes ago"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how a sweep stands; return the exit status."""
    parser = argparse.ArgumentParser(description="Show how a sweep stands, from its files alone.")
    parser.add_argument("folder", type=Path, help="the sweep's folder: runs/NAME")
    try:
        standing = read_standing(SweepFolder(parser.parse_args(arguments).folder))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)
    console.print(render_panel(standing, MOST_ROWS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
