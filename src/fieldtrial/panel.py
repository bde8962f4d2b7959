"""The panel of a sweep: counts for each row, cost so far, and time left."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue, attempt_number, run_name

OUTCOMES = ("waiting", "running", "done", "stopped", "failed")
BAR_WIDTH = 60


@dataclass(frozen=True)
class RowStanding:
    """The state of one row.

    cells: its fields as text.
    counts: {outcome: trials} of its search and its finals; a trial without a worker is waiting.
    best: the best value of the sweep's `select`.
    tested, seeds: how many finals have ended, and how many there will be.
    ended_seconds, live_seconds: the seconds of the epochs of each trial that has ended, and of
    each other trial so far.
    """

    cells: Sequence[str]
    counts: dict[str, int]
    best: float | None
    tested: int
    seeds: int
    ended_seconds: Sequence[float] = ()
    live_seconds: Sequence[float] = ()

    @property
    def to_do(self) -> int:
        """The trials that have not ended."""
        return self.counts.get("waiting", 0) + self.counts.get("running", 0)


@dataclass(frozen=True)
class Standing:
    """The state of a sweep.

    fields: the fields that its rows compare.
    select, mode: the metric that chooses the winner, and whether it is best at its max or min.
    since: is printed beside the name, such as how long the sweep has run.
    expected, ended: how many trials there will be and have ended, with sources.
    slots: trials at once.
    device_hours: spent in epochs.
    report: the path of the report, if there is one.
    news: the newest events, as lines.
    sources: {outcome: trials} of the trials that others are fine-tuned from.
    queued: trials that wait until a job begins them.
    reasons: why jobs wait, if that is known.
    """

    name: str
    path: str
    fields: Sequence[str]
    select: str
    mode: str
    rows: Sequence[RowStanding]
    since: str
    expected: int
    ended: int
    slots: int
    device_hours: float
    report: str | None = None
    news: Sequence[str] = field(default=())
    sources: Mapping[str, int] = field(default_factory=dict)
    queued: int = 0
    reasons: Sequence[str] = ()

    def seconds_left(self) -> float | None:
        """Return an estimate of the time left, or None if no trial has ended.

        Further trials are assumed to take as long as the ended ones of their row, or of all rows.
        While trials wait for jobs, no more run at once than now.
        """
        everywhere = [seconds for row in self.rows for seconds in row.ended_seconds]
        at_once = self.count("running") if self.queued else self.slots
        if not everywhere or not at_once:
            return None
        left = 0.0
        for row in self.rows:
            known = row.ended_seconds or everywhere
            left += max(0.0, row.to_do * sum(known) / len(known) - sum(row.live_seconds))
        return left / at_once

    def count(self, outcome: str) -> int:
        """Return how many trials have this outcome."""
        return sum(row.counts.get(outcome, 0) for row in self.rows) + self.sources.get(outcome, 0)


def at_work(folder: SweepFolder, begun: Collection[str], since: float | None = None) -> set[str]:
    """Return which of the runs that have begun, and not ended, a worker is running.

    A job runs a task that it has claimed if it has begun that attempt. A local driver's workers
    use no queue: they run what has changed since the driver started.

    since: when the driver started, in seconds since 1970; None: there is no driver.
    """
    queue, left = TaskQueue(folder.queue_path), set(begun)
    claimed = {run_name(task): attempt_number(task) for task in queue.claimed()}
    by_jobs = {
        name for name in left & claimed.keys() if max(folder.run(name).attempts()) >= claimed[name]
    }
    if since is None:
        return by_jobs
    left -= claimed.keys() | set(map(run_name, queue.waiting()))
    return by_jobs | {name for name in left if _last_change(folder.run(name)) >= since}


def _last_change(run: Run) -> float:
    """Return when an attempt last began or wrote a record, in seconds since 1970."""
    return max(changed for _, changed in run.record_stamps().values()) / 1e9


def render_panel(standing: Standing, most_rows: int) -> Group:
    """Return the panel as a renderable of rich, with at most `most_rows` rows."""
    head = Text(
        f"{standing.name}  {standing.since}  {standing.ended} of {standing.expected} trials, "
        f"{standing.count('running')} running, {_queued(standing)}{standing.count('failed')} failed"
        f"  ->  {standing.path}"
    )
    bar = Table.grid()  # a bar alone would not end its line
    bar.add_row(
        ProgressBar(total=max(1, standing.expected), completed=standing.ended, width=BAR_WIDTH)
    )
    lines = [Text(line, style="dim", overflow="ellipsis") for line in standing.news]
    return Group(head, Text(summary_line(standing)), bar, _table(standing, most_rows), *lines)


def summary_line(standing: Standing) -> str:
    """Return the best value so far, device-hours, time left and the report's path, in a line."""
    better = max if standing.mode == "max" else min
    known = [row for row in standing.rows if row.best is not None]
    best = better(known, key=lambda row: row.best or 0.0, default=None)
    left = standing.seconds_left()
    parts = [f"best {standing.select} {best.best:.4f} ({' '.join(best.cells)})"] if best else []
    parts += [f"{standing.device_hours:.3g} device-hours"]
    parts += [f"about {clock(left)} left"] if left else []
    parts += [f"report: {standing.report}"] if standing.report else []
    return ", ".join(parts)


def _queued(standing: Standing) -> str:
    reasons = f" ({', '.join(standing.reasons)})" if standing.reasons else ""
    return f"{standing.queued} waiting for jobs{reasons}, " if standing.queued else ""


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _table(standing: Standing, most_rows: int) -> Table:
    table = Table(
        *standing.fields, *OUTCOMES, f"best {standing.select}", "seeds", box=None, pad_edge=False
    )
    for row in standing.rows[:most_rows]:
        counts = (str(row.counts.get(outcome, 0)) for outcome in OUTCOMES)
        best = "" if row.best is None else f"{row.best:.4f}"
        table.add_row(*row.cells, *counts, best, f"{row.tested}/{row.seeds}")
    if len(standing.rows) > most_rows:
        table.caption = f"and {len(standing.rows) - most_rows} more rows"
    return table
