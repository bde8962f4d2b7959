"""How far a sweep is: counts for each row, cost and time left, and the panel that shows them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue, attempt_number, run_name
from fieldtrial.fields.printable import printable, printable_lines

WIDTH_WITHOUT_TERMINAL = 400  # characters: no line of a log file is folded
LIVE = ("waiting", "running")
OUTCOMES = (*LIVE, "finished", "stopped", "failed")
BAR_WIDTH = 60


@dataclass(frozen=True)
class TrialStanding:
    """How far a trial is, as one of OUTCOMES, and the seconds that its epochs took so far."""

    outcome: str
    seconds: float = 0.0

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.outcome in LIVE


@dataclass(frozen=True)
class RowStanding:
    """How far a row is.

    cells: its compared fields as text. search, finals, finalists: the trials of its searches, and
    the runs with fresh seeds of their winners and of their finalists. budget, seeds, finalist_runs:
    how many of each there will be at the end. best: the value of the best trial so far.
    """

    cells: Sequence[str]
    search: Sequence[TrialStanding]
    finals: Sequence[TrialStanding]
    budget: int
    seeds: int
    best: float | None
    finalists: Sequence[TrialStanding] = ()
    finalist_runs: int = 0

    @property
    def trials(self) -> list[TrialStanding]:
        """All trials so far."""
        return [*self.search, *self.finalists, *self.finals]

    @cached_property
    def counts(self) -> Counter[str]:
        """How many trials are how far; those that are yet to come count as waiting."""
        to_come = max(0, self.budget - len(self.search)) + max(0, self.seeds - len(self.finals))
        to_come += max(0, self.finalist_runs - len(self.finalists))
        return _count(self.trials) + Counter(waiting=to_come)

    @property
    def to_do(self) -> int:
        """The number of trials that have not ended."""
        return sum(self.counts[outcome] for outcome in LIVE)

    @property
    def tested(self) -> int:
        """The number of the winners' runs with fresh seeds that have ended."""
        return sum(not trial.live for trial in self.finals)

    @cached_property
    def ended_seconds(self) -> list[float]:
        """The seconds of each trial that has ended."""
        return [trial.seconds for trial in self.trials if not trial.live]

    @cached_property
    def live_seconds(self) -> list[float]:
        """The seconds so far of each trial that has not ended."""
        return [trial.seconds for trial in self.trials if trial.live]


@dataclass(frozen=True)
class Standing:
    """How far a sweep is.

    fields: what its rows compare. select, mode: the metric that chooses, and whether it is best
    when large or small. since: what stands beside the name, such as how long the sweep has run.
    device_hours: spent in epochs. slots: trials at once, None for as many as run now.
    sources: the trials whose weights others start from. news: lines below the rows.
    queued: trials that were handed over, and wait for a job. reasons: why jobs wait, if known.
    report: where the report is, if there is one.
    """

    name: str
    path: str
    fields: Sequence[str]
    select: str
    mode: Mode
    rows: Sequence[RowStanding]
    since: str
    device_hours: float
    slots: int | None = None
    sources: Sequence[TrialStanding] = ()
    queued: int = 0
    reasons: Sequence[str] = ()
    report: str | None = None
    news: Sequence[str] = ()

    @cached_property
    def counts(self) -> Counter[str]:
        """How many trials are how far, sources too."""
        return sum((row.counts for row in self.rows), _count(self.sources))

    @property
    def expected(self) -> int:
        """The number of trials that there will be at the end."""
        return self.counts.total()

    @property
    def ended(self) -> int:
        """The number of trials that have ended."""
        return self.expected - sum(self.counts[outcome] for outcome in LIVE)

    def seconds_left(self) -> float | None:
        """Return about how long the rest takes, or None if that cannot be known.

        Further trials are assumed to take as long as the ended ones of their row, or of all rows.
        While trials wait for jobs, no more run at once than now.
        """
        everywhere = [seconds for row in self.rows for seconds in row.ended_seconds]
        at_once = self.counts["running"] if self.queued or self.slots is None else self.slots
        if not everywhere or not at_once:
            return None
        left = 0.0
        for row in self.rows:
            known = row.ended_seconds or everywhere
            left += max(0.0, row.to_do * sum(known) / len(known) - sum(row.live_seconds))
        return left / at_once


def _count(trials: Sequence[TrialStanding]) -> Counter[str]:
    return Counter(trial.outcome for trial in trials)


def runs_with_worker(
    folder: SweepFolder,
    begun: Collection[str],
    since: float | None = None,
    alive: Collection[str] | None = None,
) -> set[str]:
    """Return which of the runs `begun`, which have not ended, have a worker, as far as files show.

    A job is at the task that it has claimed from the queue, once it has begun that attempt. A
    driver's own workers have no queue: they are at each run that has changed `since` the driver
    came, in seconds since 1970; None without a driver.

    alive: the jobs that are in the queue of their cluster, if that is known.
    """
    queue, left = TaskQueue(folder.queue_path), set(begun)
    workers = queue.claimed()
    claimed = {run_name(task): attempt_number(task) for task in workers}
    living = {run_name(task) for task, job in workers.items() if alive is None or job in alive}
    by_jobs = {name for name in left & living if max(folder.run(name).attempts()) >= claimed[name]}
    if since is None:
        return by_jobs
    left -= claimed.keys() | set(map(run_name, queue.waiting()))
    return by_jobs | {name for name in left if _last_change(folder.run(name)) >= since}


def _last_change(run: Run) -> float:
    """Return when an attempt last began or wrote a record, in seconds since 1970."""
    return max((changed for _, changed in run.record_stamps().values()), default=0) / 1e9


def render_panel(standing: Standing, most_rows: int) -> Group:
    """Return the panel as a renderable of rich, with at most `most_rows` rows."""
    head = plain(
        f"{standing.name}  {standing.since}  {standing.ended} of {standing.expected} trials, "
        f"{standing.counts['running']} running, {_queued(standing)}"
        f"{standing.counts['failed']} failed  ->  {standing.path}"
    )
    bar = Table.grid()  # a bar alone would not end its line
    bar.add_row(
        ProgressBar(total=max(1, standing.expected), completed=standing.ended, width=BAR_WIDTH)
    )
    lines = [plain(line, style="dim", overflow="ellipsis") for line in standing.news]
    return Group(head, plain(summary_line(standing)), bar, _table(standing, most_rows), *lines)


def summary_line(standing: Standing) -> str:
    """Return the best value so far, device-hours, time left and the report's path, in a line."""
    better = max if standing.mode == "max" else min
    known = [row for row in standing.rows if row.best is not None]
    best = better(known, key=lambda row: row.best or 0.0, default=None)
    left = standing.seconds_left()
    parts = [f"best {standing.select} {best.best:.4f} ({' '.join(best.cells)})"] if best else []
    parts += [f"{format_hours(standing.device_hours)} device-hours"]
    parts += [f"about {clock(left)} left"] if left else []
    parts += [f"report: {standing.report}"] if standing.report else []
    return ", ".join(parts)


def _queued(standing: Standing) -> str:
    reasons = f" ({', '.join(standing.reasons)})" if standing.reasons else ""
    return f"{standing.queued} waiting for jobs{reasons}, " if standing.queued else ""


def plain(text: str, **how: Any) -> Text:
    """Return a renderable of rich in which nothing is markup or a terminal's command.

    how: further arguments of rich's Text.
    """
    return Text(printable(text), **how)


class PlainConsole(Console):
    """Prints lines of text unchanged, but for what a terminal would take for commands."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as rich does."""
        super().print(
            *(printable_lines(one) if isinstance(one, str) else one for one in objects), **how
        )


def console(**how: Any) -> PlainConsole:
    """Return a console that prints text unchanged. how: further arguments of rich's Console."""
    made = PlainConsole(markup=False, highlight=False, **how)
    if not made.is_terminal:
        made.width = WIDTH_WITHOUT_TERMINAL
    return made


def format_hours(hours: float) -> str:
    """Return device-hours with three significant digits."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _table(standing: Standing, most_rows: int) -> Table:
    has_finalists = any(row.finalist_runs for row in standing.rows)
    further = ["finalists", "seeds"] if has_finalists else ["seeds"]
    head = map(plain, (*standing.fields, *OUTCOMES, f"best {standing.select}", *further))
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name)
    for row in standing.rows[:most_rows]:
        counts = (str(row.counts[outcome]) for outcome in OUTCOMES)
        best = "" if row.best is None else f"{row.best:.4f}"
        ended = sum(not trial.live for trial in row.finalists)
        most = max(row.finalist_runs, len(row.finalists))  # more, if the sweep asked for more once
        finalists = [f"{ended}/{most}"] if has_finalists else []
        table.add_row(
            *map(plain, row.cells), *counts, best, *finalists, f"{row.tested}/{row.seeds}"
        )
    if len(standing.rows) > most_rows:
        table.caption = f"and {len(standing.rows) - most_rows} more rows"
    return table
