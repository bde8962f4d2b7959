"""A SLURM cluster as a place: Submitit submits worker jobs in arrays, and they take trials from the sweep's queue.

The driver only writes small files and asks squeue, rarely: ends are heard of in the workers' answer files. squeue is for
those who can no longer answer. A trial that is claimed by a job which is gone, and not answered, has ended with it.
"""

import contextlib
import getpass
import hashlib
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import submitit

from fieldtrial.control import slurm_commands
from fieldtrial.control.launch import WORKER, launch
from fieldtrial.control.place import Ended, PlaceError, Task
from fieldtrial.control.slurm_commands import Job, SlurmOutageError
from fieldtrial.control.slurm_settings import SlurmSettings
from fieldtrial.run import SweepFolder
from fieldtrial.tasks import QueuedTask, TaskQueue

TICK_SECONDS = 0.05
JOBS_PER_SQUEUE_SECOND = 100  # squeue is asked at most once a second for each as many jobs
STOP_SECONDS = 1.5  # that a stopped trial has to end by itself before its job is cancelled
NOTICE_SECONDS = 0.5  # after a scancel, until squeue is asked what became of it
ANSWER_SECONDS = 30.0  # that a file system may take to show the answer of a job that ended well
MOST_BACK_OFF_SECONDS = 120.0
MOST_SILENT_DEATHS = 3  # jobs in a row that died before they took a task
INFRASTRUCTURE_FAILURES = 2  # of one node, before it is excluded


class SlurmPlace:
    """Trials in SLURM jobs. `say` is called with what the user should know, each thing once.

    Raises:
        PlaceError: there is no SLURM here.
    """

    def __init__(
        self, settings: SlurmSettings, folder: SweepFolder, say: Any = print, worker: tuple[str, ...] = WORKER
    ) -> None:
        self.settings, self.folder, self.slots = settings, folder, settings.most_jobs
        self.queue = TaskQueue(folder.queue_path.resolve())
        self.queue.reopen()
        self.name = f"fieldtrial-{folder.name}-{hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:8]}"
        self.excluded: set[str] = set()
        self._say, self._worker = say, worker
        self._tasks: dict[str, Task] = {}
        self._stopping: dict[str, float] = {}
        self._alive: dict[str, Job] = {}
        self._spent: dict[str, int] = {}  # job -> tasks that it has answered
        self._silent_deaths = 0
        self._node_failures: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(2)
        self._look: Future[tuple[list[Job], dict[str, tuple[str, str]]]] | None = None
        self._next_look = 0.0
        self._submission: Future[list[str]] | None = None
        self._next_submission, self._refusals = 0.0, 0
        self._outage = ""
        self._vanished: dict[str, float] = {}
        try:
            self._largest_array = slurm_commands.largest_array()
            self._limit = slurm_commands.submit_limit(getpass.getuser())
            self._take(slurm_commands.my_jobs())
        except SlurmOutageError as error:
            raise PlaceError(f"SLURM does not answer: {error}") from None
