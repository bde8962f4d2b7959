"""How far a sweep is: counts for each row, cost and time left."""

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from itertools import zip_longest
from typing import Literal

from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue, attempt_number, run_name

LIVE = ("waiting", "running")
ENDED = ("finished", "stopped", "failed")
OUTCOMES = (*LIVE, *ENDED)


@dataclass(frozen=True)
class TrialStanding:
    """How far a trial is.

    outcome: one of OUTCOMES. seconds: that it has held devices so far. epoch: the last one that is
    done, None before the first. epochs: how many it has, None if that is not known.
    """

    outcome: str
    seconds: float = 0.0
    epoch: int | None = None
    epochs: int | None = None

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.outcome in LIVE


@dataclass(frozen=True)
class RowStanding:
    """How far a row is.

    name: a short one. search, finals, finalists: the trials of its searches, and
    the runs with fresh seeds of their winners and of their finalists. budget, seeds, finalist_runs:
    how many of each there will be at the end. best: the value of the best trial so far.
    """

    name: str
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
    def tested(self) -> int:
        """The number of the winners' runs with fresh seeds that have ended."""
        return sum(not trial.live for trial in self.finals)

    @property
    def epochs(self) -> str:
        """The epochs that its running trials have done: '3/10', or '3–9/10' of several."""
        running = [trial for trial in self.trials if trial.outcome == "running"]
        done = sorted({trial.epoch for trial in running if trial.epoch is not None})
        most = max((trial.epochs for trial in running if trial.epochs is not None), default=None)
        ends = [str(epoch) for epoch in (done[:1] + done[1:][-1:])]
        return "–".join(ends) + (f"/{most}" if ends and most is not None else "")

    def seconds_of(self, *outcomes: str) -> list[float]:
        """Return the seconds of each trial with one of the outcomes."""
        return [trial.seconds for trial in self.trials if trial.outcome in outcomes]

    def to_come(self, searched: float, whole: float) -> list[list[float]]:
        """Return the seconds left of each trial that has not ended, running ones first.

        There is a list for each of its phases, which follow each other: the search, the finalists,
        the final runs. searched, whole: the seconds of a trial of the search, and of one that is
        trained to its end.
        """
        phases = (
            (self.search, self.budget, searched),
            (self.finalists, self.finalist_runs, whole),
            (self.finals, self.seeds, whole),
        )
        return [
            [
                *(max(0.0, each - one.seconds) for one in trials if one.outcome == "running"),
                *(max(0.0, each - one.seconds) for one in trials if one.outcome == "waiting"),
                *[each] * max(0, number - len(trials)),
            ]
            for trials, number, each in phases
        ]


@dataclass(frozen=True)
class Standing:
    """How far a sweep is.

    head: what stands above the rows' names. select, mode: the metric that chooses, and whether it
    is best when large or small. since: what stands beside the sweep's name, such as how long it has
    run.
    device_hours: that devices were held. slots: trials at once, None for as many as run now.
    sources: the trials whose weights others start from. news: lines below the rows.
    queued: trials that were handed over, and wait for a job. reasons: why jobs wait, if known.
    report: where the report is, if there is one. repeated: what winners are run once for each of.
    """

    name: str
    path: str
    head: str
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
    repeated: Literal["seeds", "folds"] = "seeds"

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

        Trials of a search are assumed to take as long as the ended ones of their row, or of all
        rows. Finalists and final runs are trained to the end, as long as the finished trials were,
        and begin when the search is over. While trials wait for jobs, no more run at once than now.
        """
        at_once = self.counts["running"] if self.queued or self.slots is None else self.slots
        ended = [one for row in self.rows for one in row.seconds_of(*ENDED)]
        if not ended or not at_once:
            return None
        finished = [one for row in self.rows for one in row.seconds_of("finished")] or ended
        rows = [
            row.to_come(
                _mean(row.seconds_of(*ENDED) or ended),
                _mean(row.seconds_of("finished") or finished),
            )
            for row in self.rows
        ]
        first = [max(0.0, _mean(finished) - one.seconds) for one in self.sources if one.live]
        return last_end([[first]], at_once) + last_end(rows, at_once)


def last_end(rows: Sequence[Sequence[Sequence[float]]], at_once: int) -> float:
    """Return when the last trial ends, if each starts as soon as it may and there is room.

    rows: of each row, the seconds of the trials in each of its phases. A phase begins when the one
    before it is over.
    """
    to_come = [deque(phase for phase in phases if phase) for phases in rows]
    begun = [phases.popleft() if phases else [] for phases in to_come]
    unended = [len(phase) for phase in begun]
    in_turn = zip_longest(
        *([(each, number) for each in phase] for number, phase in enumerate(begun))
    )
    ready = deque(trial for turn in in_turn for trial in turn if trial)  # rows share what there is
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < at_once:
            each, number = ready.popleft()
            heappush(running, (now + each, number))
        now, number = heappop(running)
        unended[number] -= 1
        if not unended[number] and to_come[number]:
            phase = to_come[number].popleft()
            unended[number] = len(phase)
            ready.extend((each, number) for each in phase)
    return now


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


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
