"""A SLURM cluster as a place: jobs are workers that take trials from the sweep's queue until there is no more to do.

The driver only writes small files and, rarely, asks squeue. Ends are heard of in the workers' answer files; squeue is for
those who can no longer answer: a task that is claimed by a job which is gone, and not answered, has ended with it.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from fieldtrial.control import slurm_commands
from fieldtrial.control.place import Ended, PlaceError, Task
from fieldtrial.control.slurm_commands import Job, SlurmOutageError
from fieldtrial.control.slurm_jobs import Submitter
from fieldtrial.control.slurm_settings import SlurmSettings
from fieldtrial.run import SweepFolder
from fieldtrial.tasks import Answer, QueuedTask, TaskQueue

TICK_SECONDS = 0.05
JOBS_PER_SECOND = 100  # with more of them, squeue is asked as many times more rarely
STOP_SECONDS = 1.5  # that a stopped trial has to end by itself before its job is cancelled
NOTICE_SECONDS = 0.5  # after a scancel, until squeue is asked what became of it
ANSWER_SECONDS = 30.0  # that a shared file system may take to show the answer of a job that ended well
MOST_BACK_OFF_SECONDS = 120.0
MOST_SILENT_DEATHS = 3  # jobs in a row that died before they took a task
NODE_FAILURES = 2  # infrastructure failures of one node, before it is excluded
BLAMELESS = ("PREEMPTED", "TIMEOUT", "CANCELLED", "COMPLETED", "")  # ends that say nothing against the node

Look = tuple[list[Job], dict[str, tuple[str, str]]]


class SlurmPlace:
    """Trials in SLURM jobs. `say` is called with what the user should know, each thing once.

    Raises:
        PlaceError: SLURM does not answer.
    """

    def __init__(
        self, settings: SlurmSettings, folder: SweepFolder, submitter: Submitter, say: Callable[[str], None] = print
    ) -> None:
        self.settings, self.slots = settings, settings.most_jobs
        self.queue = TaskQueue(folder.queue_path.resolve())
        self.queue.reopen()
        self._submitter, self._say = submitter, say
        self._tasks: dict[str, Task] = {}
        self._stopping: dict[str, float] = {}  # task -> when its job may be cancelled
        self._jobs: dict[str, Job] = {}  # this sweep's, as far as known
        self._answered: Counter[str] = Counter()  # job -> tasks
        self._gone: dict[str, float] = {}  # job that ended well without an answer -> when that was seen
        self._node_failures: Counter[str] = Counter()
        self._silent_deaths = 0
        self._pool = ThreadPoolExecutor(2)
        self._look: Future[Look] | None = None
        self._submission: Future[list[str]] | None = None
        self._next_look = self._next_submission = 0.0
        self._refusals = 0
        self._outage: str | None = None
        try:
            self._limit = slurm_commands.submit_limit()
            self._see(slurm_commands.my_jobs())
        except SlurmOutageError as error:
            raise PlaceError(f"SLURM does not answer: {error}") from None

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of the tasks that are still under way: they wait in the queue, or a live job has claimed them.

        Whatever else is in the queue, or at work for this sweep, belongs to nobody: it is withdrawn, and cancelled.
        """
        waiting, claimed = self.queue.waiting(), self.queue.claimed()
        named = {_queued(task).name: task for task in tasks}
        for name in waiting - named.keys():
            self.queue.withdraw(name)
        alive = {name: worker for name, worker in claimed.items() if worker in self._jobs}
        self._cancel([worker for name, worker in alive.items() if name not in named])
        answered = {answer.task for answer in self.queue.answers()}
        self._tasks = {name: named[name] for name in named.keys() & (waiting | alive.keys() | answered)}
        self.queue.rewind()  # their answers are told by `wait`
        return list(self._tasks.values())

    def start(self, task: Task) -> None:
        """Queue `task`; a job for it is submitted soon."""
        queued = _queued(task)
        self._tasks[queued.name] = task
        self.queue.put(queued)

    def stop(self, task: Task) -> None:
        """See to it that a task with a stop file ends soon: one that does not is cancelled with its job."""
        if self.settings.trials_per_job == 1:
            self._stopping[_queued(task).name] = time.monotonic() + STOP_SECONDS

    def wait(self, seconds: float) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while True:
            ended = [end for answer in self.queue.answers() if (end := self._hear(answer))]
            self._cancel_stopping()
            ended += self._look_around()
            self._submit()
            if ended or time.monotonic() > deadline:
                return ended
            time.sleep(TICK_SECONDS)

    def close(self, detach: bool = False) -> None:
        """End all jobs of the sweep; with `detach` they run on, and a driver that comes back adopts them."""
        if self._submission:
            self._submission.exception()
        if not detach:
            for name in self.queue.waiting():
                self.queue.withdraw(name)
            self.queue.close()
            self._submitter.cancel_all()
        self._pool.shutdown()

    # Ends

    def _hear(self, answer: Answer) -> Ended | None:
        self._silent_deaths = 0
        self._answered[answer.worker] += 1
        task = self._tasks.pop(answer.task, None)
        self._stopping.pop(answer.task, None)
        return None if task is None else Ended(task, error=answer.error)

    def _cancel_stopping(self) -> None:
        due = [name for name, moment in self._stopping.items() if time.monotonic() > moment]
        if not due:
            return
        claimed = self.queue.claimed()
        self._cancel([claimed[name] for name in due if name in claimed])
        for name in due:
            del self._stopping[name]

    def _cancel(self, jobs: list[str]) -> None:
        if jobs:
            self._pool.submit(slurm_commands.cancel, jobs)
            self._next_look = min(self._next_look, time.monotonic() + NOTICE_SECONDS)

    # The queue of SLURM

    def _look_around(self) -> list[Ended]:
        """Ask squeue now and then, in a thread; return the tasks that its answer shows to have died."""
        if self._look is None:
            if self._tasks and time.monotonic() > self._next_look:
                self._look = self._pool.submit(self._ask, set(self._jobs), self.queue.claimed())
            return []
        if not self._look.done():
            return []
        look, self._look = self._look, None
        interval = max(self.settings.squeue_seconds, len(self._jobs) / JOBS_PER_SECOND)
        self._next_look = time.monotonic() + interval
        error = look.exception()
        if error is not None:
            self._suffer(error)
            return []
        self._recover()
        jobs, finals = look.result()
        known = set(self._jobs)
        self._see(jobs)
        return [end for job in sorted(known - self._jobs.keys()) for end in self._bury(job, *finals.get(job, ("", "")))]

    def _ask(self, known: set[str], claimed: dict[str, str]) -> Look:
        jobs = slurm_commands.my_jobs()
        missing = known - {job.id for job in jobs}
        return jobs, slurm_commands.final_states(missing & set(claimed.values()))

    def _see(self, jobs: list[Job]) -> None:
        """Take in what squeue says. Jobs that were submitted since it was asked are not missed."""
        listed = {job.id: job for job in jobs}
        others = [job for job in jobs if job.name != self._submitter.name]
        self._others = len(others)
        mine = {job.id: job for job in jobs if job.name == self._submitter.name}
        self._cancel([job.id for job in mine.values() if job.dead])
        self._jobs = {id: job for id, job in mine.items() if not job.dead} | {
            id: job for id, job in self._jobs.items() if id not in listed and job.fresh
        }
        for job in self._jobs.values():
            job.age()

    def _bury(self, job: str, state: str, nodes: str) -> list[Ended]:
        """Return the ends of the tasks that a vanished job had claimed."""
        tasks = [name for name, worker in self.queue.claimed().items() if worker == job and name in self._tasks]
        if not tasks and not self._answered[job]:
            self._die_silently(job, state)
        if state not in BLAMELESS:
            self._blame(nodes, state)
        why = f"its job {job} is gone ({state or 'unknown to accounting'}{', ' + nodes if nodes else ''})"
        return [Ended(self._tasks.pop(name), death=why) for name in tasks]
