"""A SLURM cluster as a place: jobs are workers that take trials from the sweep's queue.

The driver only writes small files and, now and then, asks squeue. Workers report the ends of tasks
in their answer files. A worker that died cannot: if its job is gone and a task is still claimed by
it, that task has ended with the job.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from fieldtrial.control.places.interface import Backlog, Cause, Ended, UnreachableError
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.cancelling import Cancelling
from fieldtrial.control.places.slurm.commands import Job, SlurmOutageError
from fieldtrial.control.places.slurm.news import News
from fieldtrial.control.places.slurm.polling import Poll, WorkerJob, poll_slurm
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.submissions import Submissions, jobs_lacking
from fieldtrial.disk.task_queue import Task, TaskQueue
from fieldtrial.disk.work.folder import WorkFolder

TICK_SECONDS = 0.05
ANSWER_FILES_PER_SECOND = 160  # that are read; with many jobs, each is read less often
JOBS_PER_SECOND = 100  # with more jobs, squeue is asked less often
LEAVING_SECONDS = 3.0  # for workers to find that there are no more tasks
LEAVING_POLL_SECONDS = 0.5
ANSWER_SECONDS = 30.0  # for a shared file system to show what a worker has done to the queue
KILL_MARGIN_SECONDS = 10.0  # beyond those that a site gives a job's processes to end
START_SECONDS = 900.0  # for a worker to import what it needs, from its job's start
ENDED_WELL = ("COMPLETED", "")
CAUSES: dict[str, Cause] = {
    "TIMEOUT": "time limit",
    **dict.fromkeys(("PREEMPTED", "NODE_FAIL", "BOOT_FAIL"), "interruption"),
}
STOPPED_FROM_OUTSIDE = ("PREEMPTED", "TIMEOUT", "CANCELLED")
# Final states that say nothing against the node.
BLAMELESS = (*ENDED_WELL, *STOPPED_FROM_OUTSIDE, "OUT_OF_MEMORY")


class SlurmPlace:
    """Trials in SLURM jobs.

    notify: is called with each thing that the user should know, once.

    Raises:
        UnreachableError: SLURM does not answer.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        folder: WorkFolder,
        submitter: Submitter,
        notify: Callable[[str], None] = print,
    ) -> None:
        self.settings, self.slots, self.processes = settings, settings.most_jobs, settings.processes
        self.together = settings.trials_together
        self.queue = TaskQueue(folder.queue_path.resolve(), submitter.edition)
        self.backlog = Backlog()
        self._folder, self._submitter, self._notify = folder, submitter, notify
        self._news = News(notify)
        self._tasks: dict[str, Task] = {}  # by file name
        self._claimed: dict[str, str] = {}  # task -> the job that had it at the last poll
        self._lost_since: dict[str, float] = {}  # task -> since when it is nowhere
        self._jobs: dict[str, WorkerJob] = {}  # this sweep's, as far as known
        self._others = 0  # the user's other jobs
        self._pool = ThreadPoolExecutor(2)
        self._cancelling = Cancelling(self.queue, self._pool)
        self._poll: Future[Poll] | None = None
        self._next_poll = 0.0
        self._read_all = True  # the answers of all workers that there ever were
        self._kill_seconds = slurm_commands.kill_seconds() + KILL_MARGIN_SECONDS
        self._more = 0  # tasks that would be started if as many ended
        try:
            self._submissions = Submissions(settings, submitter, self._pool, notify)
            self._update(Poll(slurm_commands.my_jobs()))
        except SlurmOutageError as error:
            raise UnreachableError(f"SLURM does not answer: {error}") from None
        if self.queue.open():  # a new edition: jobs of the old one that wait are of no use
            self._cancel(self._active().keys() - self.queue.claimed().values())

    def adopt(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of an earlier driver's tasks that wait in the queue or that a job has.

        All other tasks are withdrawn from the queue, and the jobs that have one are cancelled.
        """
        waiting, active = self.queue.waiting(), self._active()
        named = {task.name: task for task in tasks}
        for name in waiting - named.keys():
            self.queue.withdraw(name)
        alive = self.queue.claimed(active)
        # A job that is ending may be requeued, and must not resume a task that another has by then.
        for worker in set(self.queue.workers()) - active.keys():
            for name in self.queue.claims(worker):
                self.queue.forget(worker, name)
        self._cancel([worker for name, worker in alive.items() if name not in named])
        answered = {answer.task for answer in self.queue.answers()}
        self._tasks = {
            name: named[name] for name in named.keys() & (waiting | alive.keys() | answered)
        }
        self.queue.rewind()  # `wait` reads the answers
        self._read_all = True
        return list(self._tasks.values())

    def start(self, task: Task) -> None:
        """Queue `task`; a job for it is submitted soon."""
        self._tasks[task.name] = task
        self.queue.put(task)

    def stop(self, task: Task) -> None:
        """Let a task with a stop file end soon, or cancel its job if it has only this one."""
        if self.settings.trials_per_job == 1:
            self._cancelling.stop(task.name)

    def dump(self, task: Task) -> bool:
        """Make a task's processes write their stack traces to its log; False if it does not run."""
        active = self._active()
        job = active.get(self.queue.claimed(active).get(task.name, ""))
        if job is None or job.shown.state != "RUNNING":
            return False
        self._pool.submit(slurm_commands.send_signal, job.id, "USR1", self.settings.needs_steps)
        return True

    def kill(self, task: Task) -> None:
        """Cancel a task's job; its end is reported when squeue shows it gone."""
        job = self.queue.claimed(self._active()).get(task.name)
        self._cancel([job] if job else [])

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:
        """Return the tasks that have ended, as soon as there are any or `seconds` have passed.

        more: tasks that could be started; a job for them is submitted when another job leaves.
        """
        deadline, self._more = time.monotonic() + seconds, more
        while True:
            ended = self._read_answers()
            self._cancel(self._cancelling.overdue(self._active()))
            ended += self._poll_jobs()
            self._submit()
            if ended or time.monotonic() > deadline:
                return ended
            time.sleep(max(TICK_SECONDS, len(self._jobs) / ANSWER_FILES_PER_SECOND))

    def close(self, detach: bool = False) -> None:
        """End all jobs of the sweep; with `detach` they run on, and the next driver adopts them."""
        self._submissions.finish()
        if not detach:
            with contextlib.suppress(OSError):  # a full disk or an outage: jobs are still cancelled
                for name in self.queue.waiting():
                    self.queue.withdraw(name)
                self.queue.close()
            try:
                self._end_jobs()
            except SlurmOutageError as error:
                command = f"fieldtrial cancel {self._folder.path}"
                self._notify(
                    f"{error}; jobs of this {self._folder.kind} may be left: {command} ends them"
                )
            else:
                with contextlib.suppress(OSError):
                    self.queue.forget_all()
        self._pool.shutdown()

    def _end_jobs(self) -> None:
        """Cancel the jobs that wait or have a task. Other workers end by themselves."""
        name, deadline = self._submitter.name, time.monotonic() + LEAVING_SECONDS
        slurm_commands.cancel_named(name, pending_only=not self._tasks)
        while any(job.name == name and job.state == "RUNNING" for job in slurm_commands.my_jobs()):
            if time.monotonic() > deadline:
                slurm_commands.cancel_named(name)
                break
            time.sleep(LEAVING_POLL_SECONDS)

    def _active(self) -> dict[str, WorkerJob]:
        """Return the jobs that may take a task or have one."""
        return {id: job for id, job in self._jobs.items() if not job.leaving}

    # Answers

    def _read_answers(self) -> list[Ended]:
        ended = []
        workers = None if self._read_all else self._jobs.keys()
        self._read_all = False
        for answer in self.queue.answers(workers):
            job = self._jobs.get(answer.worker)
            if answer.task is None:  # the worker takes no more tasks
                if job:
                    job.leaving = True
                    self._note_idle(job)
                continue
            self._submissions.note_start()
            if job:
                job.answered += 1
            self._cancelling.forget(answer.task)
            if task := self._tasks.pop(answer.task, None):
                ended.append(Ended(task, error=answer.error))
        return ended

    def _note_idle(self, job: WorkerJob) -> None:
        """Note that a worker left; if it took nothing although tasks wait, others may do so too."""
        if job.answered or job.cancelled or not self._tasks.keys() - self.queue.claimed().keys():
            return
        count = len(self.queue.waiting())  # 0: somebody has removed them
        detail = f"the last, {job.id}, left while {count} waited in the queue"
        has_started = self._some_have_started() or not count
        self._submissions.note_unstarted(job.shown.nodes, has_started, detail)
        if count:
            self._submissions.note_node_failure(job.shown.nodes)

    def _cancel(self, ids: Collection[str]) -> None:
        self._cancelling.cancel([self._jobs[id] for id in ids])

    # Polling

    def _poll_jobs(self) -> list[Ended]:
        """Poll SLURM now and then, in a thread; return the tasks whose jobs are gone."""
        if self._poll is None:
            if self._tasks and time.monotonic() > self._next_poll:
                active = self._active()
                completing = [id for id, job in active.items() if job.is_over(self._kill_seconds)]
                self._poll = self._pool.submit(
                    poll_slurm, self.queue, set(active), set(self._tasks), completing
                )
            return []
        if not self._poll.done():
            return []
        done, self._poll = self._poll, None
        pause = max(self.settings.squeue_seconds, len(self._jobs) / JOBS_PER_SECOND)
        self._next_poll = time.monotonic() + pause
        if error := done.exception():
            if not isinstance(error, SlurmOutageError):
                raise error
            self._news.tell_outage(f"{error}; waiting until SLURM answers, no job counts as gone")
            return []
        self._news.tell_outage(None)
        poll = done.result()
        self._news.tell_unknown(poll.unknown)
        ended = self._read_answers()  # a job that is gone has answered before
        over = {id for id, job in self._active().items() if job.is_over(self._kill_seconds)}
        gone = [self._jobs.pop(id) for id in sorted(poll.missing | over)]
        self._update(poll)
        for job in gone:
            ended += self._report_dead(job, *poll.finals.get(job.id, ("", "")))
        return ended + self._report_lost(poll.lost)

    def _update(self, poll: Poll) -> None:
        """Update what is known of the jobs. Jobs submitted since the poll began are not in it."""
        mine = {job.id: job for job in poll.jobs if job.name == self._submitter.name}
        self._claimed = poll.claimed
        self._others = len(poll.jobs) - len(mine)
        if mine.keys() - self._jobs.keys():
            self._submissions.note_accepted()
        self._jobs = {id: job for id, job in self._jobs.items() if id in mine or not job.leaving}
        for id, shown in mine.items():
            leaving = shown.dead or shown.state == "COMPLETING"
            job = self._jobs.setdefault(id, WorkerJob(shown, leaving))
            job.show(shown)
            if shown.pending and not shown.dead:
                job.leaving = False  # requeued or released
            if self._cancelling.is_due_again(job):
                self._cancel([id])
            if not job.cancelled and (detail := self._will_not_start(job)):
                self._cancel([id])
                self._submissions.note_unstarted(shown.nodes, self._some_have_started(), detail)
        self.backlog = Backlog(poll.requeued, self._news.tell_why_jobs_wait(mine.values()))

    def _will_not_start(self, job: WorkerJob) -> str | None:
        """Return why a job will take no task: it never starts, or its worker does not."""
        shown = job.shown
        if shown.dead:
            return f"the last, {shown.id}, never starts: {shown.reason}"
        if shown.state != "RUNNING" or self.queue.has_started(shown.id):
            job.idle_since = None
            return None
        job.idle_since = job.idle_since or time.monotonic()
        if time.monotonic() < job.idle_since + START_SECONDS:
            return None
        self._submissions.note_node_failure(shown.nodes)
        detail = f"has not started its worker for {START_SECONDS:.0f} s on {shown.nodes}"
        self._notify(f"job {shown.id} {detail}: it is cancelled")
        return f"the last, {shown.id}, {detail}"

    def _some_have_started(self) -> bool:
        return any(map(self.queue.has_started, self._active()))

    def _report_lost(self, lost: Collection[str]) -> list[Ended]:
        """Return the ends of tasks that somebody has removed from the queue, or damaged there."""
        now = time.monotonic()
        seen = {name: self._lost_since.get(name, now) for name in self._tasks.keys() & lost}
        over = sorted(name for name, since in seen.items() if now > since + ANSWER_SECONDS)
        self._lost_since = {name: since for name, since in seen.items() if name not in over}
        claimed = self.queue.claimed() if over else {}
        for name in over:
            if worker := claimed.get(name):
                self.queue.forget(worker, name)
            self._cancelling.forget(name)
        death = "its task was gone from the queue"
        return [Ended(self._tasks.pop(name), death=death, cause="interruption") for name in over]

    def _report_dead(self, job: WorkerJob, state: str, nodes: str) -> list[Ended]:
        """Return the ends of the tasks that a job had claimed when it vanished."""
        names = sorted(self.queue.claims(job.id) & self._tasks.keys())
        if names and state in ENDED_WELL:
            job.gone_since = job.gone_since or job.completing_since or time.monotonic()
            if time.monotonic() < job.gone_since + ANSWER_SECONDS:
                self._jobs[job.id] = job  # its answer may become visible until the next poll
                return []
        if state == "FAILED" and self._submitter.ran_out_of_memory(job.id):
            state = "OUT_OF_MEMORY"
        has_started = self.queue.has_started(job.id)
        if not has_started and not job.cancelled and state not in STOPPED_FROM_OUTSIDE:
            detail = f"the last, {job.id}:{self._submitter.last_lines(job.id)}"
            self._submissions.note_unstarted(nodes, self._some_have_started(), detail)
        # All its processes got SIGTERM, and not from this driver: it was preempted.
        is_preempted = not job.cancelled and 1 < self.processes <= self.queue.terminations(job.id)
        is_explained = any(_has_written_error(self._tasks[name]) for name in names)
        if state not in BLAMELESS and not is_preempted and not is_explained:
            self._submissions.note_node_failure(nodes)
        where = f", on {nodes}" if nodes else ""
        death = f"its job {job.id} is gone ({state or 'SLURM does not know its state'}{where})"
        cause = CAUSES.get(state, "interruption" if is_preempted else "death")
        for name in names:
            self.queue.forget(job.id, name)
            self._cancelling.forget(name)
        return [Ended(self._tasks.pop(name), death=death, cause=cause) for name in names]

    # Submitting

    def _submit(self) -> None:
        """Submit the jobs for all tasks, including those to come, within the limits."""
        active, most = self._active(), self.settings.trials_per_job
        takes_more = {id: job.answered < most for id, job in active.items()}
        more = self._more, self.together, self.slots
        wanted = jobs_lacking(self._tasks, self._claimed, takes_more, *more)
        leaving = len(self._jobs) - len(active)
        others = self._others + leaving
        for id in self._submissions.ask(wanted, len(active), others, self._jobs.keys()):
            # squeue may have shown it before sbatch answered, and it may be cancelled by now.
            self._jobs.setdefault(id, WorkerJob(Job(id, "PENDING", "", "", self._submitter.name)))


def _has_written_error(task: Task) -> bool:
    """Return whether a task's worker has written why it died, which is not its node's fault."""
    return bool((task.open_run().error() or {}).get("attempt", 0) >= task.attempt)
