"""How a sweep stands: counts for each row, what it has cost and what is left of it, and the panel
that shows them.
"""

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
    """One row: its fields as text, how many of its trials are how far, its best value, and its
    tests.

    counts: {outcome: trials} of its search and its runs with fresh seeds; what no worker has begun
    counts as waiting.
    tested, seeds: runs with fresh seeds that have ended, and that there are to be.
    ended_seconds: that the epochs of each trial took that has ended; live_seconds: of each that has
    not, so far.
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
    """A sweep: `fields` are those that its rows compare, `select` the metric that chooses, in
    `mode` max or min.

    since: what stands beside the name, such as how long it has run; expected and ended: of all
    trials, sources too.
    sources: how many of the trials that others are fine-tuned from are how far, as in a row's
    counts.
    slots: trials at once. queued: trials that were handed over, and wait until a job begins them;
    reasons: why jobs wait, as far as that is known.
    device_hours: spent in epochs. report: where the report is, if there is one.
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
        """Return about how long the rest takes at the pace of what has ended, or None if nobody can
        know.

        Trials that are to come take as long as those of their row did, or of all rows where none of
        it has ended. While some wait for jobs, there will be no more at once than run now.
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
        """Return how many trials are so far."""
        return sum(row.counts.get(outcome, 0) for row in self.rows) + self.sources.get(outcome, 0)


def at_work(folder: SweepFolder, begun: Collection[str], since: float | None = None) -> set[str]:
    """Return those of the runs that have begun, and have no end, which a worker is at, as far as
    files say.

    Jobs are at what they have claimed from the queue, once they have begun that attempt. A driver's
    own workers need
    no queue: they are at what has got on `since` it came (in seconds since 1970; None: there is no
    driver).
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
    """Return the panel, to be printed by rich; at most so many rows of it."""
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
    """Return best so far, device-hours, time left and where the report is, in a line."""
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
