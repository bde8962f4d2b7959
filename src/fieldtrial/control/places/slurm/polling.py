"""A look at what has become of a sweep's jobs: what squeue says, and sacct of those that it knows
no more.
"""

from dataclasses import dataclass, field

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.disk.task_queue import TaskQueue, run_name


@dataclass(frozen=True)
class Look:
    """What was found.

    jobs: all of the user's. missing: ids of known ones that are gone.
    finals: {id: (state, nodes)} at the end, of those that are gone and had something to do, or
    never began.
    requeued: names of runs whose jobs were at them, and wait for another start.
    """

    jobs: list[Job]
    missing: set[str] = field(default_factory=set)
    finals: dict[str, tuple[str, str]] = field(default_factory=dict)
    requeued: frozenset[str] = frozenset()


def look_around(queue: TaskQueue, known: set[str]) -> Look:
    """Return what squeue says of all jobs, and of those that are `known`.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """
    claimed = (
        queue.claimed()
    )  # first: a job that has a task by then, and is pending afterwards, was requeued
    jobs = slurm_commands.my_jobs()
    missing = known - {job.id for job in jobs}
    silent = {job for job in missing if not queue.has_started(job)}
    finals = slurm_commands.final_states(missing & set(claimed.values()) | silent)
    pending = {job.id for job in jobs if job.pending}
    return Look(
        jobs,
        missing,
        finals,
        frozenset(run_name(task) for task, job in claimed.items() if job in pending),
    )
