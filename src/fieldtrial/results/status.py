"""How far a sweep is, from its files alone: the driver's panel, for another shell."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from fieldtrial.command_line import said_if_long
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue, run_name
from fieldtrial.panel.render import render_panel
from fieldtrial.panel.standing import RowStanding, Standing, TrialStanding, runs_with_worker
from fieldtrial.panel.terminal import console
from fieldtrial.processes import is_gone
from fieldtrial.results.analysis.cost import account, cost_of_trials
from fieldtrial.results.analysis.grouping import row_groups
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.analysis.winner import Search, read_searches
from fieldtrial.results.read.sweeps import read_sweep
from fieldtrial.results.read.trials import FAILED

MOST_ROWS = 1000


def read_standing(folder: SweepFolder, alive: Collection[str] | None = None) -> Standing:
    """Return how far the sweep in `folder` is. Raises ValueError if it is not a sweep's folder.

    alive: the jobs that are in the queue of their cluster, if that is known.
    """
    sweeps = read_sweep(folder)
    description, records = sweeps.only, sweeps.records()
    trials = sweeps.trials.drop_duplicates("trial")
    driver = folder.owner()
    if driver is not None and is_gone(driver):
        driver = None
    since = None if driver is None else driver.get("since", 0.0)
    begun = trials.loc[trials["outcome"] == "running", "trial"]
    running = runs_with_worker(folder, begun.tolist(), since, alive)
    standings = {
        trial: TrialStanding(_outcome(outcome, trial in running), 60 * minutes, epoch, epochs)
        for trial, outcome, minutes, epoch, epochs in zip(
            trials["trial"],
            trials["outcome"],
            trials["minutes"].astype(float).fillna(0.0),
            *(_whole(trials[name]) for name in ("epochs_recorded", "epochs")),
            strict=True,
        )
    }
    queue = TaskQueue(folder.queue_path)
    handed_over = set(map(run_name, queue.waiting() | queue.claimed().keys()))
    sources = sweeps.trials.loc[sweeps.trials["role"] == "source", "trial"]
    searches = read_searches(sweeps)
    standing = Standing(
        name=folder.name,
        path=str(folder.path),
        head=description.labels_head,
        select=description.select,
        mode=description.mode,
        repeated="folds" if description.folds else "seeds",
        rows=[
            _row(name, group, description, standings, of_row)
            for name, group, of_row in zip(
                description.labels, row_groups(sweeps, searches), searches.values(), strict=True
            )
        ],
        since=_since(records),
        device_hours=account(sweeps.trials, cost_of_trials(records, sweeps.trials)).total,
        sources=[standings[trial] for trial in sources],
        queued=sum(standings[t].outcome == "waiting" for t in handed_over & standings.keys()),
        report=str(folder.report_path) if folder.report_path.exists() else None,
    )
    is_over = standing.ended == standing.expected
    return standing if is_over else replace(standing, news=[_whose(driver, folder)])


def _row(
    name: str,
    group: Group,
    description: SweepDescription,
    standings: Mapping[str, TrialStanding],
    searches: Sequence[Search],
) -> RowStanding:
    def of_role(role: str) -> list[TrialStanding]:
        return [standings[t] for t in group.trials.loc[group.trials["role"] == role, "trial"]]

    return RowStanding(
        name=name,
        search=of_role("search"),
        finals=[standings[trial] for trial in group.runs["trial"]],
        budget=group.expected,
        seeds=max(description.seeds * len(searches), len(group.runs)),
        best=None if group.winner is None else float(group.winner[description.select]),
        finalists=of_role("finalist"),
        finalist_runs=sum(search.expected_finalists for search in searches),
    )


def _whole(values: "pd.Series[int]") -> list[int | None]:
    return [None if pd.isna(value) else int(value) for value in values]


def _outcome(outcome: str, has_worker: bool) -> str:
    if outcome == "running" and not has_worker:
        return "waiting"
    return "failed" if outcome in FAILED else outcome


def _whose(driver: Mapping[str, Any] | None, folder: SweepFolder) -> str:
    if driver is None:
        is_own = folder.path.stat().st_uid == os.geteuid()
        command = folder.command() if is_own else None  # another's is not to be run unread
        said = "run the sweep's command again to resume" if is_own else "it is another user's"
        return f"no driver is running; {f'this resumes it: {command}' if command else said}"
    return "run by {user} on {host}, process {process}".format(**driver)


def _since(records: pd.DataFrame) -> str:
    """Return how long ago the newest record was written."""
    newest = records["time"].max()
    if pd.isna(newest):
        return "no record yet"
    ago = max(0, int(time.time() - newest))
    return f"newest record {ago} s ago" if ago < 120 else f"newest record {ago // 60} minutes ago"


def show(folder: SweepFolder, alive: Collection[str] | None = None) -> None:
    """Print how a sweep stands. `alive` is as for `read_standing`, whose errors are raised."""
    with said_if_long("reading the trials"):
        standing = read_standing(folder, alive)
    out = console()
    out.print(render_panel(replace(standing, news=[]), MOST_ROWS))
    for line in standing.news:
        out.print(line, soft_wrap=True)  # a command that is copied must not be cut
