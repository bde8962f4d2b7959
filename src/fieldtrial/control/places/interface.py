"""The interface of a place, where trials run: it starts tasks and reports when they have ended."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from fieldtrial.disk.task_queue import Task

Cause = Literal["death", "time limit", "interruption"]


@dataclass(frozen=True)
class Ended:
    """A task has ended.

    death: how the worker died, if it did.
    cause: why it died, as far as the place knows: at a job's time limit, by an interruption
    (preemption, node failure), or by itself.
    error: kind and message of a failure, in case a full disk kept them out of the run directory.
    """

    task: Task
    death: str | None = None
    error: tuple[str, str] | None = None
    cause: Cause = "death"


@dataclass(frozen=True)
class Backlog:
    """Jobs that wait.

    requeued: the trials whose jobs had started and are queued again.
    reasons: why jobs wait, in SLURM's words.
    """

    requeued: frozenset[str] = frozenset()
    reasons: tuple[str, ...] = ()


class PlaceError(RuntimeError):
    """A place cannot go on; the message says why."""


class RayError(PlaceError):
    """Ray did not start, or has died. Another process may start it once more."""


class UnreachableError(PlaceError):
    """A place does not answer now, and may later."""


class Place(Protocol):
    """Starts tasks and reports their ends. Their results are in the run directories.

    slots: how many tasks run at once, where those of one group count as one.
    together: how many tasks of one group count as one.
    processes: how many processes each task has, which share its batches.
    """

    slots: int
    together: int
    processes: int

    @property
    def backlog(self) -> Backlog | None:
        """The jobs that waited when the queue was last polled; None where workers need no jobs."""

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of an earlier driver's tasks that still run, and end all its other tasks.

        The ends of the tasks that are returned are reported by `wait`.
        """

    def start(self, task: Task) -> None:
        """Start a task, or have it wait for others of its group, and for a slot, until `wait`."""

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed.

        more: how many further tasks could be started now if there were slots for them.
        """

    def stop(self, task: Task) -> None:
        """Make sure that a task whose run has a stop file ends soon."""

    def dump(self, task: Task) -> bool:
        """Make a task's processes write their stack traces to its log; False if it does not run."""

    def kill(self, task: Task) -> None:
        """Kill a task's worker; `wait` reports its death."""

    def close(self, detach: bool = False) -> None:
        """End all workers at once; their tasks resume from checkpoints when they are started again.

        detach: let workers run on where they do not need this process.
        """
