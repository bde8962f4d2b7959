"""A batch: given tasks are done at a place, by the rules that hold for a sweep's trials.

There is no state but the files: a task with a result is done, and what the queue still has of an
earlier driver is followed. So the driver can be killed at any time.
"""

import time
from collections.abc import Callable, Mapping

from fieldtrial.control.batch.item import Item
from fieldtrial.control.places.interface import Cause, Ended, Place
from fieldtrial.control.running.deaths import count_death, shared_problem
from fieldtrial.control.running.errors import DISK_ADVICE, WorkError
from fieldtrial.control.running.hung import HungWatch
from fieldtrial.disk.files import RecordReader
from fieldtrial.disk.task_queue import Task, TaskQueue, attempt_number, run_name
from fieldtrial.disk.work.folder import WorkFolder

POLL_SECONDS = 0.2
RUNS_PER_SECOND = 160  # whose records are read; with many runs, each is read less often
MOST_CUT = 64  # by which a task's batches are cut at most
STEP = "part"  # what a task completes, and does not repeat

Listener = Callable[[str, Item], None]


class Batch:
    """Does tasks of one folder at a place.

    sizes: run directory -> how much there is to do in it, in the unit of its records' `key`.
    on_event: is called with an event (again, failed, done) and the task.
    on_progress: is called with how much more is done; less than 0 where an attempt repeats it.
    check_ownership: is called before anything is started, and may raise.
    clock: returns seconds, to find hung tasks.
    """

    def __init__(
        self,
        folder: WorkFolder,
        sizes: Mapping[str, int],
        key: str,
        place: Place,
        on_event: Listener = lambda *_: None,
        on_progress: Callable[[int], None] = lambda _: None,
        check_ownership: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.place, self._key = folder, place, key
        self.items = {name: Item(name, size) for name, size in sizes.items()}
        self._on_event, self._on_progress = on_event, on_progress
        self._check_ownership = check_ownership
        self._readers: dict[str, RecordReader] = {}
        self._hung = HungWatch(place, clock)
        self._adopt()

    def run(self) -> list[Item]:
        """Run until every task is done or has failed. Returns those that have failed.

        Raises:
            WorkError: the first tasks all failed with the same error, or a disk is full.
            OSError: the file system does not answer; another driver can go on.
        """
        while self._step():
            pass
        return [item for item in self.items.values() if item.status == "failed"]

    def _step(self) -> bool:
        """Start and wait once. Returns False when nothing is left to do."""
        self._check_failures()
        running, waiting = self._with("running"), self._with("waiting")
        starts = waiting[: max(0, self.place.slots - len(running))]
        if not starts and not running:
            return False
        if starts:
            self._check_ownership()
        for item in starts:
            self._start(item)
        pause = max(POLL_SECONDS, len(self._readers) / RUNS_PER_SECOND)
        ended = self.place.wait(pause, more=len(waiting) - len(starts))
        self._check_ownership()
        for item in self._with("running"):
            self._read_records(item)
        for end in ended:
            self._on_ended(end)
        self._hung.poll()
        return True

    def _with(self, status: str) -> list[Item]:
        return [item for item in self.items.values() if item.status == status]

    def _task(self, item: Item) -> Task:
        path = str(self.folder.run(item.name).folder.resolve())
        return Task(path, item.attempt, accumulate=item.accumulate)

    def _adopt(self) -> None:
        """Follow the tasks that an earlier driver has queued; the place ends all others."""
        queue = TaskQueue(self.folder.queue_path)
        for name in sorted(queue.waiting() | queue.claimed().keys()):
            if item := self.items.get(run_name(name)):
                item.attempt = attempt_number(name)
        known = [self._task(item) for item in self.items.values() if item.attempt]
        for task in self.place.adopt(known):
            item = self.items[task.trial]
            item.status = "running"
            self._follow(item)

    def _start(self, item: Item) -> None:
        item.status = "running"
        run = self.folder.run(item.name)
        earlier = (run.error() or {}).get("attempt", 0)
        item.attempt = 1 + max([item.attempt, earlier, *run.attempts()])
        self._follow(item)
        self.place.start(self._task(item))

    def _follow(self, item: Item) -> None:
        if item.name not in self._readers:
            self._readers[item.name] = RecordReader(self.folder.run(item.name))
        self._hung.begin(self._task(item))

    def _read_records(self, item: Item) -> None:
        for record in self._readers[item.name].read():
            self._hung.on_record(item.name, record)
            if record["epoch"] > item.part:  # not what an attempt says at its start
                item.part = record["epoch"]
                item.reset_deaths()
            done = record.get(self._key)
            if isinstance(done, int):
                self._on_progress(done - item.done)
                item.done = done

    # Outcomes

    def _on_ended(self, end: Ended) -> None:
        item = self.items[end.task.trial]
        run = self.folder.run(item.name)
        self._read_records(item)
        hung = self._hung.end(item.name)
        error = run.error()
        if run.result() is not None:
            item.status, item.problem = "done", None
            self._on_progress(item.size - item.done)
            item.done = item.size
            self._on_event("done", item)
        elif error is not None and error["attempt"] >= item.attempt:
            self._on_failed(item, error["kind"], error["message"])
        elif end.error is not None:
            self._on_failed(item, *end.error)
        else:
            self._on_death(item, end.cause, hung or end.death or "its worker gave no result")

    def _on_failed(self, item: Item, kind: str, message: str) -> None:
        if kind == "disk":
            item.status = "waiting"
            raise WorkError(f"{self.folder.run(item.name).path}: {message}; {DISK_ADVICE}")
        if kind == "outage":
            self._on_death(item, "interruption", message)
        elif kind == "memory" and item.accumulate < MOST_CUT:
            item.accumulate *= 2
            self._again(item, f"out of memory: resumes with batches cut by {item.accumulate}")
        else:
            item.status, item.problem = "failed", f"{kind}: {message}"
            self._on_event("failed", item)

    def _on_death(self, item: Item, cause: Cause, death: str) -> None:
        """Resume a task whose worker died, until that has happened too often."""
        reason = count_death(item, cause, death, STEP)
        if reason is None:
            self._again(item, death)
        else:
            self.folder.run(item.name).write_error("died", reason, item.attempt)
            self._on_failed(item, "died", reason)

    def _again(self, item: Item, problem: str) -> None:
        item.status, item.problem = "waiting", problem
        self._on_event("again", item)

    def _check_failures(self) -> None:
        """Raise WorkError if all of the first tasks have failed with one error."""
        ended = [*self._with("done"), *self._with("failed")]
        if problem := shared_problem([item.problem for item in ended]):
            run = self.folder.run(ended[0].name)
            lines = [problem, (run.error() or {}).get("details"), f"see {run.path}"]
            raise WorkError(
                f"the first {len(ended)} tasks failed with the same error; fix it and run the same"
                " command again:\n" + "\n".join(line for line in lines if line)
            )
