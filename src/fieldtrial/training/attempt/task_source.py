"""Where a worker's tasks come from: its standard input, whose other end is its owner's, or a
sweep's task queue.

And how it hears, while it trains, that it is to stop.
"""

import json
import os
import queue
import sys
import threading
import time
from typing import Any, Protocol

from fieldtrial.disk.outages import outlast
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.task_queue import Answer, QueuedTask, TaskQueue

POLL_SECONDS = 0.1
OPTIONS = "--queue DIR --edition WORD --name NAME --trials N --idle SECONDS --end TIME"
SAFETY = 1.2  # of the longest trial so far, that must be left of the job's time for another


class Inbox(Protocol):
    """Tasks for a worker, and the way back for what became of them."""

    def next(self) -> QueuedTask | None:
        """Return the next task, as soon as there is one, or None when there will be no more for
        this worker.
        """

    def answer(self, task: QueuedTask, answer: dict[str, Any]) -> None:
        """Say that the worker is done with a task, and ready for another."""


class StandardInput:
    """Tasks are lines of JSON, {"run": ..., "attempt": 3, "test": false}; so are the answers,
    written to `answers`.

    A thread reads, so that the owner's death is noticed while training: the process then ends at
    once.
    """

    def __init__(self, answers: Any) -> None:
        self._answers = answers
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._read_count = 0
        self._answered_count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> QueuedTask | None:
        """Return the next line's task, or None at the end of the input."""
        line = self._lines.get()
        return QueuedTask(**json.loads(line)) if line else None

    def answer(self, task: QueuedTask, answer: dict[str, Any]) -> None:
        """Write a line."""
        self._answered_count += 1  # first: who has read the answer may close the input at once
        self._answers.write(json.dumps({"run": task.run, **answer}).encode() + b"\n")

    def _read(self) -> None:
        with open(
            0, "rb", buffering=0, closefd=False
        ) as lines:  # unbuffered: no lock is held at the process's end
            for line in lines:
                self._read_count += 1
                self._lines.put(line)
        if self._read_count > self._answered_count:
            os._exit(1)
        self._lines.put(b"")


class QueueInbox:
    """Tasks are claimed from a sweep's queue: `trials` at most, none any more after `idle` seconds
    without one.

    Nor is one taken that the time until `end` (in seconds since 1970) may not suffice for, going by
    the longest so far. While the queue's file system is away, it is waited for.
    """

    def __init__(self, tasks: TaskQueue, name: str, trials: int, idle: float, end: float) -> None:
        self._tasks, self._name, self._left, self._idle = tasks, name, trials, idle
        self._end = end
        self._longest = self._started = 0.0
        self._is_superseded = False
        facts = {"node": os.environ.get("SLURM_JOB_NODELIST", ""), "end": end}
        outlast(lambda: tasks.register(name, facts))

    def next(self) -> QueuedTask | None:
        """Return a claimed task. One that this job had claimed before it was started again goes on
        as a new attempt.
        """
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

    def _claim(self) -> QueuedTask | None:
        task = self._tasks.claim(self._name)  # which, if the next line fails, finds it again
        return task and task.again(Run(task.run).attempts())

    def answer(self, task: QueuedTask, answer: dict[str, Any]) -> None:
        """Append to this worker's answer file.

        A worker whose task another has taken over was given up: the task, and perhaps its very
        name, are the other's.
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


class StopLook:
    """Looks for a run's stop file between steps: every tenth of an epoch, but every 0.1 to 1 s."""

    SHARE, SHORTEST, LONGEST = 0.1, 0.1, 1.0

    def __init__(self, run: Run) -> None:
        self._run, self._pause, self._next = run, self.SHORTEST, 0.0

    def hear(self, record: Record) -> None:
        """Take in how long an epoch takes."""
        self._pause = min(self.LONGEST, max(self.SHORTEST, self.SHARE * record["seconds"]))

    def __call__(self) -> bool:
        """Return whether the worker was asked to stop; False between two looks."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._pause
        return self._run.stop_requested()


def open_inbox(arguments: list[str], answers: Any) -> Inbox:
    """Return the inbox that a command line asks for: that of OPTIONS, or, with no arguments, the
    standard input.
    """
    if not arguments:
        return StandardInput(answers)
    try:
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        numbers = int(options["--trials"]), float(options["--idle"]), float(options["--end"])
        return QueueInbox(
            TaskQueue(options["--queue"], options["--edition"]), options["--name"], *numbers
        )
    except (KeyError, ValueError) as error:
        sys.exit(f"worker: {error}: must be {OPTIONS}, or nothing")
