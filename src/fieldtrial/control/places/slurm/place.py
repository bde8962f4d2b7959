"""A SLURM cluster as a place: jobs are workers that take trials from the sweep's queue until there
is no more to do.

The driver only writes small files and, rarely, asks squeue. Ends are heard of in the workers'
answer files; squeue is
for those who can no longer answer: a task that is claimed by a job which is gone, and not answered,
has ended with it.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from fieldtrial.control.places.interface import Backlog, Cause, Ended, Task, UnreachableError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job, SlurmOutageError
from fieldtrial.control.places.slurm.polling import Look, look_around
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.submissions import Submissions
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue

TICK_SECONDS = 0.05
ANSWER_FILES_PER_SECOND = 160  # that are looked into: with many jobs, each more rarely
JOBS_PER_SECOND = 100  # with more of them, squeue is asked as many times more rarely
STOP_SECONDS = 1.5  # that a stopped trial has to end by itself before its job is cancelled
LEAVING_SECONDS = 3.0  # that workers have to see that there is nothing more to do
# Why jobs wait that will start by themselves; what else squeue says of them, somebody may have to
# do something about.
ORDINARY = (
    "Priority",
    "Resources",
    "None",
    "BeginTime",
    "Dependency",
    "JobArrayTaskLimit",
    "Cleaning",
    "Prolog",
)
LEAVING_LOOK_SECONDS = 0.5  # between two looks at whether they have
ANSWER_SECONDS = (
    30.0  # that a shared file system may take to show the answer of a job that ended well
)
START_SECONDS = 900.0  # that a worker may take, from its job's start, to import what it needs
ENDED_WELL = ("COMPLETED", "")
CAUSES: dict[str, Cause] = {
    "TIMEOUT": "time limit",
    **dict.fromkeys(("PREEMPTED", "NODE_FAIL", "BOOT_FAIL"), "interruption"),
}
STOPPED_FROM_OUTSIDE = ("PREEMPTED", "TIMEOUT", "CANCELLED")
BLAMELESS = (
    *ENDED_WELL,
    *STOPPED_FROM_OUTSIDE,
    "OUT_OF_MEMORY",
)  # ends that say nothing against the node


class SlurmPlace:
    """Trials in SLURM jobs. `say` is called with what the user should know, each thing once.

    Raises:
        UnreachableError: SLURM does not answer.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        folder: SweepFolder,
        submitter: Submitter,
        say: Callable[[str], None] = print,
    ) -> None:
        self.settings, self.slots, self.processes = settings, settings.most_jobs, settings.processes
        self.queue = TaskQueue(folder.queue_path.resolve(), submitter.edition)
        self._submitter, self._say = submitter, say
        self._tasks: dict[str, Task] = {}
        self._stopping: dict[str, float] = {}  # task -> when its job may be cancelled
        self._jobs: dict[str, Job] = {}  # this sweep's, as far as known
        self._leaving: set[str] = set()  # jobs that end without taking another task
        self._answered: Counter[str] = Counter()  # job -> tasks
        self._gone: dict[
            str, float
        ] = {}  # job that ended well without an answer -> when that was seen
        self._reasons: set[str] = set()  # for which jobs wait, that have been said
        self.backlog = Backlog()
        self._unstarted: dict[
            str, float
        ] = {}  # job whose worker has not started -> when it was first seen running
        self._pool = ThreadPoolExecutor(2)
        self._look: Future[Look] | None = None
        self._next_look = 0.0
        self._outage: str | None = None
        self._cancelled: set[str] = set()
        self._uncancelled: dict[
            str, set[str]
        ] = {}  # job that SLURM did not hear is to be cancelled -> its tasks then
        self._others = 0
        self._hears_all = True
        self._more = 0  # tasks that would come if as many ended
        try:
            self._submissions = Submissions(settings, submitter, self._pool, say)
            self._see(Look(slurm_commands.my_jobs()))
        except SlurmOutageError as error:
            raise UnreachableError(f"SLURM does not answer: {error}") from None
        if (
            self.queue.open()
        ):  # whatever waits there was asked for otherwise, or by a sweep whose folder is gone
            self._cancel(sorted(self._jobs.keys() - self.queue.claimed().values()))

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of the tasks that are still under way: they wait in the queue, or a live job
        has claimed them.

        Whatever else is in the queue, or at work for this sweep, belongs to nobody: it is
        withdrawn, and cancelled.
        """
        waiting, claimed = self.queue.waiting(), self.queue.claimed()
        named = {task.queued().name: task for task in tasks}
        for name in waiting - named.keys():
            self.queue.withdraw(name)
        alive = {name: worker for name, worker in claimed.items() if worker in self._jobs}
        for name in (
            claimed.keys() - alive.keys()
        ):  # its job may be ending to be requeued: by then it is another's
            self.queue.forget(claimed[name], name)
        self._cancel([worker for name, worker in alive.items() if name not in named])
        answered = {answer.task for answer in self.queue.answers()}
        self._tasks = {
            name: named[name] for name in named.keys() & (waiting | alive.keys() | answered)
        }
        self.queue.rewind()  # their answers are told by `wait`
        self._hears_all = True
        return list(self._tasks.values())

    def start(self, task: Task) -> None:
        """Queue `task`; a job for it is submitted soon."""
        queued = task.queued()
        self._tasks[queued.name] = task
        self.queue.put(queued)

    def stop(self, task: Task) -> None:
        """See to it that a task with a stop file ends soon: one that does not is cancelled with its
        job.
        """
        if self.settings.trials_per_job == 1:
            self._stopping[task.queued().name] = time.monotonic() + STOP_SECONDS

    def dump(self, task: Task) -> bool:
        """Have a task's processes write into its log what they are doing. Returns False if its job
        does not run.
        """
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

        Where `more` will come, the next job is asked for as soon as one is heard to have done its
        last task.
        """
        deadline, self._more = time.monotonic() + seconds, more
        while True:
            ended = self._hear_answers()
            self._cancel_stopping()
            ended += self._look_around()
            self._submit()
            if ended or time.monotonic() > deadline:
                return ended
            time.sleep(max(TICK_SECONDS, len(self._jobs) / ANSWER_FILES_PER_SECOND))

    def close(self, detach: bool = False) -> None:
        """End all jobs of the sweep; with `detach` they run on, and a driver that comes back adopts
        them.
        """
        self._submissions.finish()
        if not detach:
            with contextlib.suppress(
                OSError
            ):  # the disk is full, or gone: the jobs are cancelled all the same
                for name in self.queue.waiting():
                    self.queue.withdraw(name)
                self.queue.close()
            try:
                self._end_jobs()
            except SlurmOutageError as error:
                self._say(
                    f"{error}; jobs of this sweep may be left: python jobs/cancel.py ends them"
                )
            else:
                with contextlib.suppress(OSError):
                    self.queue.forget_all()
        self._pool.shutdown()

    def _end_jobs(self) -> None:
        """Cancel what waits, and what is at work; workers without a task end by themselves, or
        SLURM has lost them.
        """
        name, deadline = self._submitter.name, time.monotonic() + LEAVING_SECONDS
        slurm_commands.cancel_named(name, pending_only=not self._tasks)
        while any(job.name == name and job.state == "RUNNING" for job in slurm_commands.my_jobs()):
            if time.monotonic() > deadline:
                slurm_commands.cancel_named(name)
                break
            time.sleep(LEAVING_LOOK_SECONDS)

    # Ends

    def _hear_answers(self) -> list[Ended]:
        ends = []
        workers = (
            None if self._hears_all else self._jobs.keys() | self._leaving
        )  # not all that there ever were
        self._hears_all = False
        for answer in self.queue.answers(workers):
            if answer.task is None:
                if self._jobs.pop(answer.worker, None):  # it takes no more tasks
                    self._leaving.add(answer.worker)
                continue
            self._submissions.note_start()
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
            self._stopping = {
                name: moment for name, moment in self._stopping.items() if name not in due
            }

    def _cancel(self, jobs: list[str]) -> None:
        if jobs:
            self._cancelled.update(jobs)
            self._pool.submit(self._tell_to_cancel, jobs)

    def _tell_to_cancel(self, jobs: list[str]) -> None:
        tasks = {job: self._claims(job) for job in jobs}
        try:
            slurm_commands.cancel(jobs)
        except SlurmOutageError:
            self._uncancelled |= tasks  # they are cancelled when squeue answers again

    def _claims(self, job: str) -> set[str]:
        return {task for task, worker in self.queue.claimed().items() if worker == job}

    # squeue

    def _look_around(self) -> list[Ended]:
        """Ask squeue now and then, in a thread; return the tasks that its answer shows to have
        died.
        """
        if self._look is None:
            if self._tasks and time.monotonic() > self._next_look:
                self._look = self._pool.submit(look_around, self.queue, set(self._jobs))
            return []
        if not self._look.done():
            return []
        look, self._look = self._look, None
        self._next_look = time.monotonic() + max(
            self.settings.squeue_seconds, len(self._jobs) / JOBS_PER_SECOND
        )
        if error := look.exception():
            if not isinstance(error, SlurmOutageError):
                raise error
            self._say_once(f"{error}; waiting for it, no verdict is passed meanwhile")
            return []
        self._say_once(None)
        found = look.result()
        ends = self._hear_answers()  # a job that is gone had answered before
        self._see(found)
        return ends + [
            e
            for job in sorted(found.missing)
            for e in self._bury(job, *found.finals.get(job, ("", "")))
        ]

    def _see(self, look: Look) -> None:
        """Take in what squeue says: of this sweep's jobs, those that came since it was asked are
        not in it.
        """
        mine = [job for job in look.jobs if job.name == self._submitter.name]
        self._others = len(look.jobs) - len(mine)
        self._jobs = {id: job for id, job in self._jobs.items() if id not in look.missing}
        ending = {
            job.id
            for job in mine
            if job.state == "COMPLETING" or (job.id in self._leaving and not job.pending)
        }
        self._jobs |= {job.id: job for job in mine if not job.dead and job.id not in ending}
        self._leaving = {job.id for job in mine} - self._jobs.keys()
        self._cancel_again({job.id for job in mine})
        reasons = {job.reason for job in mine if job.pending and not job.dead}
        self.backlog = Backlog(look.requeued, tuple(sorted(reasons - {"None"})))
        for reason in reasons - self._reasons.union(ORDINARY):
            self._say(f"jobs wait in the queue, says squeue: {reason}")
            self._reasons.add(reason)
        for job in mine:
            if job.id not in self._cancelled and (story := self._hopeless_start(job)):
                self._cancel([job.id])
                self._submissions.note_silent_death(job.nodes, self._some_have_started(), story)

    def _hopeless_start(self, job: Job) -> str | None:
        """Return why a job is not going to take a task: it is held, or its worker does
        not come up.
        """
        if job.dead:
            return f"the last, {job.id}, is held: {job.reason}"
        if job.state != "RUNNING" or self.queue.has_started(job.id):
            self._unstarted.pop(job.id, None)
            return None
        since = self._unstarted.setdefault(job.id, time.monotonic())
        if time.monotonic() < since + START_SECONDS:
            return None
        self._submissions.note_node_failure(job.nodes)
        story = f"has done nothing for {START_SECONDS:.0f} s on {job.nodes}"
        self._say(f"job {job.id} {story}: it is cancelled")
        return f"the last, {job.id}, {story}"

    def _cancel_again(self, there: set[str]) -> None:
        """Cancel what SLURM has not heard of, unless it has gone on to another task meanwhile."""
        for job in list(self._uncancelled):
            tasks = self._uncancelled.pop(job)
            if job in there and self._claims(job) == tasks:
                self._cancel([job])

    def _some_have_started(self) -> bool:
        return any(map(self.queue.has_started, self._jobs))

    def _bury(self, job: str, state: str, nodes: str) -> list[Ended]:
        """Return the ends of the tasks that a vanished job had claimed."""
        names = [
            name
            for name, worker in self.queue.claimed().items()
            if worker == job and name in self._tasks
        ]
        if names and state in ENDED_WELL and not self._has_waited(job):
            self._jobs[job] = Job(
                job, state, nodes, "", self._submitter.name
            )  # looked for again at the next look
            return []
        if state == "FAILED" and self._submitter.ran_out_of_memory(job):
            state = "OUT_OF_MEMORY"
        if (
            not self.queue.has_started(job)
            and job not in self._cancelled
            and state not in STOPPED_FROM_OUTSIDE
        ):
            lines = self._submitter.last_lines(job)
            self._submissions.note_silent_death(
                nodes, self._some_have_started(), f"the last, {job}:{lines}"
            )
        # all its processes were told to end, and not by this driver
        is_told = job not in self._cancelled and 1 < self.processes <= self.queue.terminations(job)
        if (
            state not in BLAMELESS
            and not is_told
            and not any(_has_said_why(self._tasks[name]) for name in names)
        ):
            self._submissions.note_node_failure(nodes)
        why = (
            f"its job {job} is gone"
            f" ({state or 'SLURM does not say how'}{', on ' + nodes if nodes else ''})"
        )
        for name in names:
            self.queue.forget(job, name)
            self._stopping.pop(name, None)
        cause = CAUSES.get(state, "interruption" if is_told else "death")
        return [Ended(self._tasks.pop(name), death=why, cause=cause) for name in names]

    def _has_waited(self, job: str) -> bool:
        """Return whether it is long ago that the job was found gone."""
        return time.monotonic() > self._gone.setdefault(job, time.monotonic()) + ANSWER_SECONDS

    def _say_once(self, outage: str | None) -> None:
        if outage and not self._outage:
            self._say(outage)
        elif self._outage and not outage:
            self._say("SLURM answers again")
        self._outage = outage

    # sbatch

    def _submit(self) -> None:
        """Have as many jobs as tasks, also those to come, within the limits."""
        capacity = [job for job in self._jobs if self._answered[job] < self.settings.trials_per_job]
        wanted = min(self.slots, len(self._tasks) + self._more) - len(capacity)
        submitted = self._submissions.ask(
            wanted, len(self._jobs), self._others + len(self._leaving)
        )
        self._jobs |= {id: Job(id, "PENDING", "", "", self._submitter.name) for id in submitted}


def _has_said_why(task: Task) -> bool:
    """Return whether a task's worker died knowingly, of what its run says: that is not its node's
    fault.
    """
    return bool((task.run.error() or {}).get("attempt", 0) >= task.attempt)
