"""How often the workers of a task may die before it counts as failed."""

from collections.abc import Sequence
from typing import Protocol

from fieldtrial.control.places.interface import Cause

SAME_ERRORS = 3  # all stops if so many tasks end first, all with the same error
MOST_DEATHS = 3  # of a task's workers in a row, without any progress
# The same for preemptions and node failures. They are not the task's fault, but a queue that
# never gives it the time for any progress is of no use.
MOST_INTERRUPTIONS = 30


class Counted(Protocol):
    """What counts deaths in a row, without any progress in between, by their causes."""

    deaths: int
    time_limits: int
    interruptions: int


def count_death(task: Counted, cause: Cause, death: str, step: str = "epoch") -> str | None:
    """Count the death of a task's worker. Returns why the task fails, or None if it resumes.

    Interruptions and time limits are counted separately: they are not the task's fault.

    step: what a task completes, and does not repeat, in words.
    """
    a_step = f"{'an' if step[0] in 'aeio' else 'a'} {step}"
    if cause == "death":
        task.deaths += 1
        given_up = task.deaths >= MOST_DEATHS
        why = f"its worker died {task.deaths} times in a row without completing {a_step}"
    elif cause == "time limit":
        task.time_limits += 1
        given_up = task.time_limits >= MOST_DEATHS
        why = (
            f"{task.time_limits} jobs in a row reached their time limit without completing"
            f" {a_step}; {a_step} must fit into a job's time_limit_minutes"
        )
    else:
        task.interruptions += 1
        given_up = task.interruptions >= MOST_INTERRUPTIONS
        why = f"it was interrupted {task.interruptions} times without completing {a_step}"
    return f"{why}; the last time {death}" if given_up else None


def shared_problem(problems: Sequence[str | None]) -> str | None:
    """Return the problem that all tasks that have ended so far share, if they are enough to tell.

    problems: why each has failed, None where it has not.
    """
    if len(problems) < SAME_ERRORS or len(set(problems)) > 1:
        return None
    return problems[0]
