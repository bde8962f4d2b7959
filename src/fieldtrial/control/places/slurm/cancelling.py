"""Cancels jobs: in a thread, and again what SLURM did not hear."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Executor

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import SlurmOutageError
from fieldtrial.control.places.slurm.polling import WorkerJob
from fieldtrial.disk.task_queue import TaskQueue

STOP_SECONDS = 1.5  # for a stopped trial to end by itself, before its job is cancelled


class Cancelling:
    """Cancels jobs of a sweep, now or when a stopped trial has not ended in time."""

    def __init__(self, queue: TaskQueue, pool: Executor) -> None:
        self._queue, self._pool = queue, pool
        self._deadlines: dict[str, float] = {}  # task -> when its job is cancelled

    def cancel(self, jobs: Collection[WorkerJob]) -> None:
        """Cancel jobs soon."""
        for job in jobs:
            job.cancelled = True
        if jobs:
            claims = {job.id: self._queue.claims(job.id) for job in jobs}
            self._pool.submit(self._scancel, sorted(jobs, key=lambda job: job.id), claims)

    def is_due_again(self, job: WorkerJob) -> bool:
        """Return whether SLURM did not hear that a job is cancelled, which has the same task."""
        missed, job.missed_cancel = job.missed_cancel, None
        return missed is not None and missed == self._queue.claims(job.id)

    def stop(self, task: str) -> None:
        """Have the job of a task cancelled unless the task ends in time."""
        self._deadlines[task] = time.monotonic() + STOP_SECONDS

    def forget(self, task: str) -> None:
        """Note that a task has ended."""
        self._deadlines.pop(task, None)

    def overdue(self, jobs: Collection[str]) -> set[str]:
        """Return those of `jobs` whose stopped tasks have not ended in time, each once."""
        now = time.monotonic()
        due = [task for task, deadline in self._deadlines.items() if now > deadline]
        if not due:
            return set()
        claimed = self._queue.claimed(jobs)
        for task in due:
            del self._deadlines[task]
        return {claimed[task] for task in due if task in claimed}

    def _scancel(self, jobs: list[WorkerJob], claims: Mapping[str, set[str]]) -> None:
        try:
            slurm_commands.cancel([job.id for job in jobs])
        except SlurmOutageError:
            for job in jobs:
                job.missed_cancel = claims[job.id]
