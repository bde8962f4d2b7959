"""Place: where trials run, as the engine sees it. It starts tasks and says when they have ended."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fieldtrial.run import Run


@dataclass(frozen=True)
class Task:
    """One attempt at one trial: what a worker is given."""

    run: Run
    attempt: int
    test: bool = False


@dataclass(frozen=True)
class Ended:
    """A worker is done with a task.

    death: how the worker died, if that is why.
    error: the kind and the message of a failure, for where a full disk kept them out of the run directory.
    """

    task: Task
    death: str | None = None
    error: tuple[str, str] | None = None


class PlaceError(RuntimeError):
    """A place cannot go on; the message says why."""


class Place(Protocol):
    """Starts tasks and reports their ends. What came of them stands in the run directory."""

    slots: int

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of an earlier driver's tasks that are still under way, and report their ends as of one's own."""

    def start(self, task: Task) -> None:
        """Start a task; at most `slots` are under way at once."""

    def wait(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed."""

    def stop(self, task: Task) -> None:
        """See to it that a task whose run has been asked to stop does so soon."""

    def close(self, detach: bool = False) -> None:
        """End all workers at once; tasks under way resume from their checkpoints when started again.

        With `detach`, a place whose workers do not need this process lets them run on.
        """
