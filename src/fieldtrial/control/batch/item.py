"""One task of a batch: what its loop knows of it."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["waiting", "running", "done", "failed"]


@dataclass
class Item:
    """A task, named by its run directory.

    size: how much there is to do, in the unit in which its records count.
    attempt: the number of its newest attempt that was given to the place.
    accumulate: by how much its batches are cut, which is raised when memory runs out.
    deaths, time_limits, interruptions: attempts in a row without any progress that ended because
        the worker died, at a job's time limit, or by preemption or node failure.
    done: how much is done, as far as its records say.
    part: the last part that was completed.
    problem: why it failed or resumes.
    """

    name: str
    size: int
    status: Status = "waiting"
    attempt: int = 0
    accumulate: int = 1
    deaths: int = 0
    time_limits: int = 0
    interruptions: int = 0
    done: int = 0
    part: int = 0
    problem: str | None = None

    def reset_deaths(self) -> None:
        """Set the counts of deaths to zero, because something was completed."""
        self.deaths = self.time_limits = self.interruptions = 0
