"""Trial: what the engine knows of one trial."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fieldtrial.config import TrainConfig
from fieldtrial.together import group_of

Role = Literal["source", "search", "finalist", "final"]
Status = Literal["waiting", "running", "done", "failed"]
LISTENER, GROUP = "_listener", "_group"  # of a trial, which are not saved


@dataclass(eq=False)
class Trial:
    """One trial of a sweep. It tells a listener which of its attributes was set, so that nobody
    has to look at all trials to know what has changed.

    trial_id: the searcher's name for it. Two trials may have the same config, and share its run.
    row: the row's number; None for a source, which several rows may share.
    search: the number of the row's search that it is of.
    suggestion: what the searcher proposed, in the searcher's terms.
    last_epoch: the last epoch that was reported to the searcher and the scheduler.
    seconds: how long it has held its devices so far, in all attempts, as far as records say.
    timed: the attempts whose records are counted in `seconds`, each with its seconds.
    best: the best value of the sweep's `select` so far; at the end, that of the kept epoch.
    start: the value of `select` before any training.
    stopped_at: the epoch whose record made the scheduler stop it, or None.
    shared_stop: the epoch at which all earlier trials of its run were stopped, if any were, and at
        which it is stopped too; None if the search is not deterministic.
    deaths, time_limits, interruptions: consecutive attempts without a completed epoch that ended
        because the worker died, at a job's time limit, or by preemption or node failure.
    accumulate: the number of micro-batches per optimiser step, raised when memory runs out.
    alone: whether it trains with no other trial any more, since a worker died with it.
    notice: the worker's last message to the user, such as that a checkpoint was damaged.
    told: whether the searcher knows how it ended.
    reopened: whether the searcher has closed the trial: it failed before, and runs again.
    repeats: whether it was done and runs again, as its run is gone or damaged: the search knows
        how it ended.
    """

    trial_id: str
    role: Role
    row: int | None
    config: TrainConfig
    search: int = 0
    status: Status = "waiting"
    attempt: int = 0
    last_epoch: int = -1
    seconds: float = 0.0
    timed: tuple[tuple[int, float], ...] = ()
    best: float | None = None
    start: float | None = None
    stopped_at: int | None = None
    shared_stop: int | None = None
    deaths: int = 0
    time_limits: int = 0
    interruptions: int = 0
    accumulate: int = 1
    alone: bool = False
    told: bool = False
    reopened: bool = False
    repeats: bool = False
    notice: str | None = None
    problem: str | None = None
    suggestion: dict[str, Any] = field(default_factory=dict)
    last_result: dict[str, Any] = field(default_factory=dict)

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value
        if listener := self.__dict__.get(LISTENER):
            listener(self, name)

    def __getstate__(self) -> dict[str, Any]:
        return {name: one for name, one in vars(self).items() if name not in (LISTENER, GROUP)}

    def listen(self, listener: Callable[["Trial", str], None] | None) -> None:
        """Call `listener` with the trial and the name of each attribute that is set from now on."""
        self.__dict__[LISTENER] = listener

    @functools.cached_property
    def name(self) -> str:
        """The run directory's name: the config's id."""
        return self.config.id

    def group(self, together: int) -> str:
        """Return the word of the trials that it may train with, if so many may train together.

        "" where it trains alone, as also what has run out of memory does, and what was in a group
        that has failed: the same trials would meet again.
        """
        may_share = together > 1 and self.accumulate == 1 and not self.alone
        return self._group if may_share else ""

    @functools.cached_property
    def _group(self) -> str:
        return group_of(self.config)

    def parts(self, together: int) -> int:
        """Return how many parts it takes of a slot that has `together` of them."""
        return 1 if self.group(together) else together

    def charge(self, record: Mapping[str, Any]) -> None:
        """Count the time that a record tells of. Records of older workers tell of epochs alone.

        A restarted driver is told all records once more, from the first attempt on.
        """
        held, attempt = record.get("held_seconds"), record.get("attempt") or self.attempt
        if held is not None:
            known = dict(self.timed)
            more = max(0.0, held - known.get(attempt, 0.0))
            self.seconds += more
            self.timed = tuple((known | {attempt: known.get(attempt, 0.0) + more}).items())
        elif record["epoch"] > self.last_epoch:
            self.seconds += record["seconds"]

    def begin_again(self) -> None:
        """Wait as at first, after a failure whose cause is gone."""
        self.status, self.problem, self.accumulate, self.alone = "waiting", None, 1, False
        self.reset_deaths()

    def reset_deaths(self) -> None:
        """Set the counts of deaths to zero, because an epoch was completed."""
        self.deaths = self.time_limits = self.interruptions = 0

    @property
    def diverged(self) -> bool:
        """Whether its loss was not finite: a property of its configuration, not a fault."""
        return self.problem is not None and self.problem.startswith("diverged")

    @property
    def live(self) -> bool:
        """Whether the trial has not ended."""
        return self.status in ("waiting", "running")
