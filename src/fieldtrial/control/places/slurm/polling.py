"""What a driver knows of a sweep's jobs, and how it polls SLURM for them."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from time import monotonic

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job, Unknown
from fieldtrial.disk.task_queue import TaskQueue, run_name
from fieldtrial.disk.work.folder import WorkFolder


def job_name(folder: WorkFolder) -> str:
    """Return the name of all jobs of a sweep, and of no other: it has a digest of the path."""
    digest = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:8]
    return f"{folder.name}-fieldtrial-{digest}"


@dataclass
class WorkerJob:
    """One of the sweep's jobs, which is a worker.

    shown: the job as squeue showed it last.
    leaving: whether it takes no more tasks: its worker said so, or it never starts, or completes.
    answered: how many tasks its worker has answered.
    cancelled: whether this driver has cancelled it.
    missed_cancel: the tasks it had when SLURM did not answer scancel, which is then repeated.
    idle_since: when it was first seen running without its worker having started.
    completing_since: when it was first seen completing: its processes end, or an epilog runs.
    gone_since: when it was found to have ended well without an answer.
    """

    shown: Job
    leaving: bool = False
    answered: int = 0
    cancelled: bool = False
    missed_cancel: set[str] | None = None
    idle_since: float | None = None
    completing_since: float | None = None
    gone_since: float | None = None

    @property
    def id(self) -> str:
        """The job's id as squeue writes it."""
        return self.shown.id

    def show(self, shown: Job) -> None:
        """Take what squeue shows."""
        self.shown = shown
        is_completing = shown.state == "COMPLETING"
        self.completing_since = (self.completing_since or monotonic()) if is_completing else None

    def is_over(self, seconds: float) -> bool:
        """Return whether its processes have ended although squeue shows it: an epilog runs.

        seconds: after which SLURM has killed the processes of a completing job.
        """
        since = self.completing_since
        return since is not None and monotonic() > since + seconds


@dataclass(frozen=True)
class Poll:
    """The result of one poll.

    jobs: all of the user's jobs.
    missing: the ids of known jobs that are gone.
    finals: {id: (state, nodes)} at the end of missing jobs that had a task or never took one.
    requeued: the trials of jobs that had begun them and are queued again.
    claimed: {task: job} of the tasks that a job has which may still do them.
    lost: the tasks that are neither in the queue nor with a job that is known or in squeue.
    unknown: lines that SLURM's commands have printed beside what was asked for.
    """

    jobs: list[Job]
    missing: set[str] = field(default_factory=set)
    finals: dict[str, tuple[str, str]] = field(default_factory=dict)
    requeued: frozenset[str] = frozenset()
    claimed: dict[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    unknown: Unknown = field(default_factory=Unknown)


def poll_slurm(
    queue: TaskQueue,
    known: set[str],
    tasks: Collection[str] = (),
    completing: Collection[str] = (),
) -> Poll:
    """Ask squeue for all jobs, and SLURM's records for the `known` ones that are gone.

    tasks: the tasks that are to be in the queue, or with a job.
    completing: jobs whose end is asked for although squeue shows them.

    Raises:
        SlurmOutageError: SLURM does not answer.
    """
    # In this order: a task that is claimed in between is in both.
    waiting = queue.waiting()
    # Before squeue: a job that has a task by now and is pending afterwards was requeued. Jobs that
    # are gone have none: of thousands, nobody looks into their folders.
    claimed, unknown = queue.claimed(known), Unknown()
    jobs = slurm_commands.my_jobs(unknown)
    shown = {job.id for job in jobs}
    claimed |= queue.claimed(shown - known)
    missing = known - shown
    unstarted = {job for job in missing if not queue.has_started(job)}
    ended = missing & set(claimed.values()) | unstarted | set(completing)
    finals = slurm_commands.final_states(ended, unknown)
    pending = {job.id for job in jobs if job.pending}
    requeued = frozenset(run_name(task) for task, job in claimed.items() if job in pending)
    held = {task: job for task, job in claimed.items() if job in shown or job in known}
    lost = frozenset(set(tasks) - waiting - held.keys())
    return Poll(jobs, missing, finals, requeued, held, lost, unknown)
