"""Place: where trials run, as the engine sees it. It starts tasks and says when they have ended."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import QueuedTask

Cause = Literal["death", "time limit", "interruption"]


@dataclass(frozen=True)
class Task:
    """One attempt at one trial: what a worker is given."""

    run: Run
    attempt: int
    test: bool = False
    accumulate: int = 1

    def queued(self) -> QueuedTask:
        """Return the task as a worker reads it."""
        return QueuedTask(str(self.run.path.resolve()), self.attempt, self.test, self.accumulate)


@dataclass(frozen=True)
class Ended:
    """A worker is done with a task.

    death: how the worker died, if that is why.
    cause: of the death, as far as a place knows: a job's time limit, an interruption (preemption, a
    dead node), or not.
    error: the kind and the message of a failure, for where a full disk kept them out of the run
    directory.
    """

    task: Task
    death: str | None = None
    error: tuple[str, str] | None = None
    cause: Cause = "death"


@dataclass(frozen=True)
class Backlog:
    """What a place says of jobs that wait: the runs of those that have begun, and start again, and
    why jobs wait.
    """

    requeued: frozenset[str] = frozenset()
    reasons: tuple[str, ...] = ()


class PlaceError(RuntimeError):
    """A place cannot go on; the message says why."""


class UnreachableError(PlaceError):
    """A place does not answer, and may later."""


class Place(Protocol):
    """Starts tasks and reports their ends. What came of them stands in the run directory.

    slots: tasks at once. processes: of each, which share its batches.
    """

    slots: int
    processes: int

    @property
    def backlog(self) -> Backlog | None:
        """What was known of jobs that wait when they were looked at last; None where workers need
        no jobs.
        """

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of an earlier driver's tasks that are still under way, and report their ends
        as of one's own.
        """

    def start(self, task: Task) -> None:
        """Start a task; at most `slots` are under way at once."""

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed.

        more: how many further tasks would be started at once if slots became free.
        """

    def stop(self, task: Task) -> None:
        """See to it that a task whose run has been asked to stop does so soon."""

    def dump(self, task: Task) -> bool:
        """Have a task's processes write into its log what they are doing. Returns False if it is
        not at work yet.
        """

    def kill(self, task: Task) -> None:
        """End a task's worker at once, so that its end is reported as a death."""

    def close(self, detach: bool = False) -> None:
        """End all workers at once; tasks under way resume from their checkpoints when started
        again.

        With `detach`, a place whose workers do not need this process lets them run on.
        """
