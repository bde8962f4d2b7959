"""What a driver knows of a sweep's jobs, and how it polls SLURM for them."""

from dataclasses import dataclass, field

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.disk.task_queue import TaskQueue, run_name


@dataclass
class WorkerJob:
    """One of the sweep's jobs, which is a worker.

    shown: the job as squeue showed it last.
    leaving: whether it takes no more tasks: its worker said so, or it is held or completing.
    answered: how many tasks its worker has answered.
    cancelled: whether this driver has cancelled it.
    missed_cancel: the tasks it had when SLURM did not answer scancel, which is then repeated.
    idle_since: when it was first seen running without its worker having started.
    gone_since: when it was found to have ended well without an answer.
    """

    shown: Job
    leaving: bool = False
    answered: int = 0
    cancelled: bool = False
    missed_cancel: set[str] | None = None
    idle_since: float | None = None
    gone_since: float | None = None

    @property
    def id(self) -> str:
        """The job's id as squeue writes it."""
        return self.shown.id


@dataclass(frozen=True)
class Poll:
    """The result of one poll.

    jobs: all of the user's jobs.
    missing: the ids of known jobs that are gone.
    finals: {id: (state, nodes)} at the end of missing jobs that had a task or never took one.
    requeued: the trials of jobs that had begun them and are queued again.
    """

    jobs: list[Job]
    missing: set[str] = field(default_factory=set)
    finals: dict[str, tuple[str, str]] = field(default_factory=dict)
    requeued: frozenset[str] = frozenset()


def poll_slurm(queue: TaskQueue, known: set[str]) -> Poll:
    """Ask squeue for all jobs, and SLURM's records for the `known` ones that are gone.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """
    # Before squeue: a job that has a task by now and is pending afterwards was requeued.
    claimed = queue.claimed()
    jobs = slurm_commands.my_jobs()
    missing = known - {job.id for job in jobs}
    unstarted = {job for job in missing if not queue.has_started(job)}
    finals = slurm_commands.final_states(missing & set(claimed.values()) | unstarted)
    pending = {job.id for job in jobs if job.pending}
    requeued = frozenset(run_name(task) for task, job in claimed.items() if job in pending)
    return Poll(jobs, missing, finals, requeued)
