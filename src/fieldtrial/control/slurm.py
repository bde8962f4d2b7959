"""A SLURM cluster as a place: jobs are workers that take trials from the sweep's queue until there is no more to do.

The driver only writes small files and, rarely, asks squeue. Ends are heard of in the workers' answer files; squeue is
for those who can no longer answer: a task that is claimed by a job which is gone, and not answered, has ended with it.
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from fieldtrial.control import slurm_commands
from fieldtrial.control.place import Cause, Ended, PlaceError, Task
from fieldtrial.control.settings import SlurmSettings
from fieldtrial.control.slurm_commands import Job, SlurmOutageError
from fieldtrial.control.slurm_jobs import Submitter
from fieldtrial.sweep_folder import SweepFolder
from fieldtrial.tasks import TaskQueue

TICK_SECONDS = 0.05
JOBS_PER_SECOND = 100  # with more of them, squeue is asked as many times more rarely
STOP_SECONDS = 1.5  # that a stopped trial has to end by itself before its job is cancelled
LEAVING_SECONDS = 3.0  # that workers have to see that there is nothing more to do
NOTICE_SECONDS = 0.5  # after a scancel, until squeue is asked what became of it
ANSWER_SECONDS = 30.0  # that a shared file system may take to show the answer of a job that ended well
MOST_BACK_OFF_SECONDS = 120.0
MOST_SILENT_DEATHS = 3  # jobs in a row that died before their workers had started
NODE_FAILURES = 2  # infrastructure failures of one node, before it is excluded
# What sbatch says of a request that will never do; other refusals, such as full limits, pass.
HOPELESS = ("nvalid", "not available", "not permitted", "nrecognized", "Requested time limit", "Memory specification")
ENDED_WELL = ("COMPLETED", "")
CAUSES: dict[str, Cause] = {
    "TIMEOUT": "time limit",
    **dict.fromkeys(("PREEMPTED", "NODE_FAIL", "BOOT_FAIL"), "interruption"),
}
STOPPED_FROM_OUTSIDE = ("PREEMPTED", "TIMEOUT", "CANCELLED")
BLAMELESS = (*ENDED_WELL, *STOPPED_FROM_OUTSIDE, "OUT_OF_MEMORY")  # ends that say nothing against the node

Look = tuple[list[Job], set[str], dict[str, tuple[str, str]]]  # all jobs; those of ours that are gone; how they went


class SlurmPlace:
    """Trials in SLURM jobs. `say` is called with what the user should know, each thing once.

    Raises:
        PlaceError: SLURM does not answer.
    """

    def __init__(
        self, settings: SlurmSettings, folder: SweepFolder, submitter: Submitter, say: Callable[[str], None] = print
    ) -> None:
        self.settings, self.slots, self.processes = settings, settings.most_jobs, settings.processes
        self.queue = TaskQueue(folder.queue_path.resolve())
        self.queue.reopen()
        self._submitter, self._say = submitter, say
        self._tasks: dict[str, Task] = {}
        self._stopping: dict[str, float] = {}  # task -> when its job may be cancelled
        self._jobs: dict[str, Job] = {}  # this sweep's, as far as known
        self._leaving: set[str] = set()  # jobs that end without taking another task
        self._answered: Counter[str] = Counter()  # job -> tasks
        self._gone: dict[str, float] = {}  # job that ended well without an answer -> when that was seen
        self._node_failures: Counter[str] = Counter()
        self._silent_deaths = 0
        self._pool = ThreadPoolExecutor(2)
        self._look: Future[Look] | None = None
        self._submission: Future[list[str]] | None = None
        self._next_look = self._next_submission = 0.0
        self._refusals = 0
        self._most_at_once = self.slots  # less, after a refusal: limits there are that nothing tells
        self._outage: str | None = None
        self._cancelled: set[str] = set()
        self._uncancelled: set[str] = set()  # jobs of which SLURM did not hear that they are to be cancelled
        self._others = 0
        self._hears_all = True
        self._more = 0  # tasks that would come if as many ended
        try:
            self._limit = slurm_commands.submit_limit()
            self._largest_array = slurm_commands.largest_array()
            self._see(slurm_commands.my_jobs(), set())
        except SlurmOutageError as error:
            raise PlaceError(f"SLURM does not answer: {error}") from None

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of the tasks that are still under way: they wait in the queue, or a live job has claimed them.

        Whatever else is in the queue, or at work for this sweep, belongs to nobody: it is withdrawn, and cancelled.
        """
        waiting, claimed = self.queue.waiting(), self.queue.claimed()
        named = {task.queued().name: task for task in tasks}
        for name in waiting - named.keys():
            self.queue.withdraw(name)
        alive = {name: worker for name, worker in claimed.items() if worker in self._jobs}
        for name in claimed.keys() - alive.keys():  # its job may be ending to be requeued: by then it is another's
            self.queue.forget(claimed[name], name)
        self._cancel([worker for name, worker in alive.items() if name not in named])
        answered = {answer.task for answer in self.queue.answers()}
        self._tasks = {name: named[name] for name in named.keys() & (waiting | alive.keys() | answered)}
        self.queue.rewind()  # their answers are told by `wait`
        self._hears_all = True
        return list(self._tasks.values())

    def start(self, task: Task) -> None:
        """Queue `task`; a job for it is submitted soon."""
        queued = task.queued()
        self._tasks[queued.name] = task
        self.queue.put(queued)

    def stop(self, task: Task) -> None:
        """See to it that a task with a stop file ends soon: one that does not is cancelled with its job."""
        if self.settings.trials_per_job == 1:
            self._stopping[task.queued().name] = time.monotonic() + STOP_SECONDS

    def dump(self, task: Task) -> bool:
        """Have a task's processes write into its log what they are doing. Returns False if its job does not run."""
        job = self._jobs.get(self.queue.claimed().get(task.queued().name, ""))
        if job is None or job.state != "RUNNING":
            return False
        self._pool.submit(slurm_commands.send_signal, job.id, "USR1", self.settings.needs_steps)
        return True

    def kill(self, task: Task) -> None:
        """Cancel a task's job; its end is reported when squeue shows it gone."""
        job = self.queue.claimed().get(task.queued().name)
        self._cancel([job] if job else [])

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed.

        Where `more` will come, the next job is asked for as soon as one is heard to have done its last task.
        """
        deadline, self._more = time.monotonic() + seconds, more
        while True:
            ended = self._hear_answers()
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
            with contextlib.suppress(OSError):  # the disk is full, or gone: the jobs are cancelled all the same
                for name in self.queue.waiting():
                    self.queue.withdraw(name)
                self.queue.close()
            try:
                self._end_jobs()
            except SlurmOutageError as error:
                self._say(f"{error}; jobs of this sweep may be left: python jobs/cancel.py ends them")
        self._pool.shutdown()

    def _end_jobs(self) -> None:
        """Cancel what waits, and what is at work; workers without a task end by themselves, or SLURM has lost them."""
        name, deadline = self._submitter.name, time.monotonic() + LEAVING_SECONDS
        slurm_commands.cancel_named(name, pending_only=not self._tasks)
        while any(job.name == name and job.state == "RUNNING" for job in slurm_commands.my_jobs()):
            if time.monotonic() > deadline:
                slurm_commands.cancel_named(name)
                break
            time.sleep(NOTICE_SECONDS)

    # Ends

    def _hear_answers(self) -> list[Ended]:
        ends = []
        workers = None if self._hears_all else self._jobs.keys() | self._leaving  # not all that there ever were
        self._hears_all = False
        for answer in self.queue.answers(workers):
            if answer.task is None:
                if self._jobs.pop(answer.worker, None):  # it takes no more tasks
                    self._leaving.add(answer.worker)
                continue
            self._silent_deaths = 0
            self._answered[answer.worker] += 1
            self._stopping.pop(answer.task, None)
            if task := self._tasks.pop(answer.task, None):
                ends.append(Ended(task, error=answer.error))
        return ends

    def _cancel_stopping(self) -> None:
        due = [name for name, moment in self._stopping.items() if time.monotonic() > moment]
        if due:
            claimed = self.queue.claimed()
            self._cancel([claimed[name] for name in due if name in claimed])
            self._stopping = {name: moment for name, moment in self._stopping.items() if name not in due}

    def _cancel(self, jobs: list[str]) -> None:
        if jobs:
            self._cancelled.update(jobs)
            self._pool.submit(self._tell_to_cancel, jobs)
            self._next_look = min(self._next_look, time.monotonic() + NOTICE_SECONDS)

    def _tell_to_cancel(self, jobs: list[str]) -> None:
        try:
            slurm_commands.cancel(jobs)
        except SlurmOutageError:
            self._uncancelled.update(jobs)  # they are when squeue answers again

    # squeue

    def _look_around(self) -> list[Ended]:
        """Ask squeue now and then, in a thread; return the tasks that its answer shows to have died."""
        if self._look is None:
            if self._tasks and time.monotonic() > self._next_look:
                self._look = self._pool.submit(self._ask, set(self._jobs))
            return []
        if not self._look.done():
            return []
        look, self._look = self._look, None
        self._next_look = time.monotonic() + max(self.settings.squeue_seconds, len(self._jobs) / JOBS_PER_SECOND)
        if error := look.exception():
            self._say_once(f"{error}; waiting for it, no verdict is passed meanwhile")
            return []
        self._say_once(None)
        jobs, missing, finals = look.result()
        ends = self._hear_answers()  # a job that is gone had answered before
        self._see(jobs, missing)
        return ends + [end for job in sorted(missing) for end in self._bury(job, *finals.get(job, ("", "")))]

    def _ask(self, known: set[str]) -> Look:
        jobs = slurm_commands.my_jobs()
        missing = known - {job.id for job in jobs}
        claiming = set(self.queue.claimed().values())
        silent = {job for job in missing if not self.queue.has_started(job)}
        return jobs, missing, slurm_commands.final_states(missing & claiming | silent)

    def _see(self, jobs: list[Job], missing: set[str]) -> None:
        """Take in what squeue says: of this sweep's jobs, those that came since it was asked are not in it."""
        mine = [job for job in jobs if job.name == self._submitter.name]
        self._others = len(jobs) - len(mine)
        unheard = set(self._uncancelled)
        self._uncancelled -= unheard
        self._cancel([job.id for job in mine if job.dead or job.id in unheard])
        self._jobs = {id: job for id, job in self._jobs.items() if id not in missing}
        ending = {job.id for job in mine if job.state == "COMPLETING" or (job.id in self._leaving and not job.pending)}
        self._jobs |= {job.id: job for job in mine if not job.dead and job.id not in ending}
        self._leaving = {job.id for job in mine} - self._jobs.keys()

    def _bury(self, job: str, state: str, nodes: str) -> list[Ended]:
        """Return the ends of the tasks that a vanished job had claimed."""
        names = [name for name, worker in self.queue.claimed().items() if worker == job and name in self._tasks]
        if names and state in ENDED_WELL and not self._has_waited(job):
            self._jobs[job] = Job(job, state, self._submitter.name, nodes, "")  # looked for again at the next look
            return []
        if not self.queue.has_started(job) and job not in self._cancelled and state not in STOPPED_FROM_OUTSIDE:
            self._die_silently(job)
        if state not in BLAMELESS and not any(_has_said_why(self._tasks[name]) for name in names):
            self._node_failures.update(slurm_commands.node_names(nodes))
        why = f"its job {job} is gone ({state or 'SLURM does not say how'}{', on ' + nodes if nodes else ''})"
        for name in names:
            self.queue.forget(job, name)
            self._stopping.pop(name, None)
        return [Ended(self._tasks.pop(name), death=why, cause=CAUSES.get(state, "death")) for name in names]

    def _has_waited(self, job: str) -> bool:
        """Return whether it is long ago that the job was found gone."""
        return time.monotonic() > self._gone.setdefault(job, time.monotonic()) + ANSWER_SECONDS

    def _die_silently(self, job: str) -> None:
        """Count a job that died before its worker had started; give up where that becomes all that happens."""
        self._silent_deaths += 1
        if self._silent_deaths >= MOST_SILENT_DEATHS and not any(map(self.queue.has_started, self._jobs)):
            lines = self._submitter.last_lines(job)
            raise PlaceError(
                f"{self._silent_deaths} jobs in a row ended before they took a trial; the last, {job}:{lines}"
            )

    def _say_once(self, outage: str | None) -> None:
        if outage and not self._outage:
            self._say(outage)
        elif self._outage and not outage:
            self._say("SLURM answers again")
        self._outage = outage

    # sbatch

    def _submit(self) -> None:
        """Have as many jobs as tasks, also those to come, within the limits; submit in a thread, an array at a time."""
        if self._submission is not None:
            if self._submission.done():
                self._note_submission(self._submission)
                self._submission = None
            return
        capacity = [job for job in self._jobs if self._answered[job] < self.settings.trials_per_job]
        room = self.settings.most_jobs - len(self._jobs)
        if self._limit is not None:
            room = min(room, self._limit - self._others - len(self._jobs) - len(self._leaving))
        tasks = min(self.slots, len(self._tasks) + self._more)
        count = min(tasks - len(capacity), room, self._largest_array, self._most_at_once)
        if count > 0 and time.monotonic() > self._next_submission:
            self._submission = self._pool.submit(self._submitter.submit, count, self._excluded())

    def _excluded(self) -> set[str]:
        """Return the nodes that jobs are kept from: with one failure each may have had nothing to do."""
        return {node for node, failures in self._node_failures.items() if failures >= NODE_FAILURES}

    def _note_submission(self, submission: Future[list[str]]) -> None:
        error = submission.exception()
        if error is None:
            self._refusals = 0
            self._most_at_once = min(self.slots, 2 * self._most_at_once)
            self._jobs |= {id: Job(id, "PENDING", self._submitter.name, "", "") for id in submission.result()}
            return
        if not isinstance(error, SlurmOutageError):
            raise error
        if not self._jobs and any(words in str(error) for words in HOPELESS):
            if not self._excluded():
                raise PlaceError(f"SLURM takes no job of this place: {error}")
            self._say(f"no nodes are left without {', '.join(sorted(self._excluded()))}, where jobs died: back to all")
            self._node_failures.clear()
            return
        self._most_at_once = max(1, self._most_at_once // 2)
        self._refusals += 1
        wait = min(MOST_BACK_OFF_SECONDS, 2.0**self._refusals) * random.uniform(0.5, 1.5)
        self._next_submission = time.monotonic() + wait
        if self._refusals == 1:
            self._say(f"{str(error).splitlines()[-1]}; trying again, more and more rarely")


def _has_said_why(task: Task) -> bool:
    """Return whether a task's worker died knowingly, of what its run says: that is not its node's fault."""
    return bool((task.run.error() or {}).get("attempt", 0) >= task.attempt)
