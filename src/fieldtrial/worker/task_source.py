"""Where a worker gets its tasks, its standard input or a task queue."""

import json
import os
import queue
import sys
import threading
import time
from typing import Any, Protocol

from fieldtrial.disk.outages import outlast
from fieldtrial.disk.task_queue import Answer, Task, TaskQueue

POLL_SECONDS = 0.1
GATHER_SECONDS = 0.25  # in which a driver that is queueing a group's tasks queues another one
OPTIONS = "--queue DIR --edition WORD --name NAME --trials N --together N --idle SECONDS --end TIME"
# A job takes another trial only if this many times its longest trial so far is left of its time.
SAFETY = 1.2


class TaskSource(Protocol):
    """A source of tasks for a worker, which it answers."""

    def next(self) -> Task | None:
        """Wait for the next task and return it, or None when there will be no more."""

    def beside(self, task: Task) -> list[Task]:
        """Return the tasks that are to be done together with `task`, which `next` has returned."""

    def answer(self, task: Task, answer: dict[str, Any]) -> None:
        """Report that the worker has ended a task."""


class StandardInput:
    """Tasks are lines of JSON, {"run": ..., "attempt": 3, "test": false}; so are the answers.

    A line may be a list of tasks, which are to be done together; each has an answer of its own.
    A thread reads the lines. At the end of the input the owner is dead, and a training process
    exits.

    answers: the file that answers are written to.
    """

    def __init__(self, answers: Any) -> None:
        self._answers = answers
        self._lines: queue.SimpleQueue[list[dict[str, Any]]] = queue.SimpleQueue()
        self._beside: list[Task] = []
        self._read_count = 0
        self._answered_count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Task | None:
        """Return the next line's task, the first of several, or None at the end of the input."""
        tasks = [Task(**fields) for fields in self._lines.get()]
        self._beside = tasks[1:]
        return tasks[0] if tasks else None

    def beside(self, _task: Task) -> list[Task]:
        """Return the further tasks of the line."""
        return self._beside

    def answer(self, task: Task, answer: dict[str, Any]) -> None:
        """Write the answer as a line of JSON."""
        self._answered_count += 1  # before the answer: its reader may close the input at once
        self._answers.write(json.dumps({"run": task.run, **answer}).encode() + b"\n")

    def _read(self) -> None:
        # Unbuffered: a buffer's lock would be held when the process exits.
        with open(0, "rb", buffering=0, closefd=False) as lines:
            for line in lines:
                given = json.loads(line)
                tasks = given if isinstance(given, list) else [given]
                self._read_count += len(tasks)
                self._lines.put(tasks)
        if self._read_count > self._answered_count:
            os._exit(1)
        self._lines.put([])


class QueueTaskSource:
    """Tasks are claimed from a folder's queue, at most `trials` of them, and at most `together` of
    one group at once.

    It ends after `idle` seconds without a task. It stops claiming tasks when the time left until
    `end`, in seconds since 1970, may be too short for one as long as the longest so far. During an
    outage of the queue's file system it waits.
    """

    def __init__(
        self,
        tasks: TaskQueue,
        name: str,
        trials: int,
        idle: float,
        end: float,
        together: int = 1,
    ) -> None:
        self._tasks, self._name, self._left, self._idle = tasks, name, trials, idle
        self._end, self._together = end, together
        self._longest = self._started = 0.0
        self._is_superseded = False
        facts = {"node": os.environ.get("SLURM_JOB_NODELIST", ""), "end": end}
        outlast(lambda: tasks.register(name, facts))

    def next(self) -> Task | None:
        """Claim a task and return it. One claimed before a requeue resumes as a new attempt."""
        deadline = time.monotonic() + self._idle
        while self._left > 0 and not self._short_of_time():
            task = outlast(self._claim)
            if task is not None:
                self._left, self._started = self._left - 1, time.monotonic()
                return task
            if outlast(lambda: self._tasks.closed) or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        if not self._is_superseded:
            outlast(lambda: self._tasks.answer(Answer(self._name, None, "left")))
        return None

    def beside(self, task: Task) -> list[Task]:
        """Claim waiting tasks of the task's group. A driver that is queueing them is waited for."""
        most = min(self._together, self._left + 1)
        if most == 1 or not task.group:
            return []
        before, waiting = -1, self._count(task.group)
        while before < waiting < most - 1:
            time.sleep(GATHER_SECONDS)
            before, waiting = waiting, self._count(task.group)
        found = outlast(lambda: self._tasks.claim_group(self._name, task, most))[1:]
        self._left -= len(found)
        return [one.again(one.open_run().attempts()) for one in found]

    def _count(self, group: str) -> int:
        return outlast(lambda: self._tasks.count_waiting(group))

    def _claim(self) -> Task | None:
        task = self._tasks.claim(self._name)  # finds the same task again if the next line fails
        return task and task.again(task.open_run().attempts())

    def answer(self, task: Task, answer: dict[str, Any]) -> None:
        """Append to this worker's answer file; a superseded worker does not answer.

        Another worker, perhaps of the same job, has that task, and answers it.
        """
        if answer["outcome"] == "superseded":
            self._left, self._is_superseded = 0, True
            return
        self._longest = max(self._longest, time.monotonic() - self._started)
        error = answer.get("error")
        error = error and (error["kind"], error["message"])
        outlast(lambda: self._tasks.answer(Answer(self._name, task.name, answer["outcome"], error)))

    def _short_of_time(self) -> bool:
        return time.time() + SAFETY * self._longest > self._end


def open_task_source(arguments: list[str], answers: Any) -> TaskSource:
    """Return the queue that OPTIONS name, or the standard input if there are no arguments."""
    if not arguments:
        return StandardInput(answers)
    try:
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        numbers = int(options["--trials"]), float(options["--idle"]), float(options["--end"])
        return QueueTaskSource(
            TaskQueue(options["--queue"], options["--edition"]),
            options["--name"],
            *numbers,
            together=int(options["--together"]),
        )
    except (KeyError, ValueError) as error:
        sys.exit(f"worker: {error}: the arguments must be {OPTIONS}, or none")
