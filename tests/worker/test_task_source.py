"""Where a worker's tasks come from, and when it takes no more."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Answer, Task, TaskQueue
from fieldtrial.worker import task_source as source
from fieldtrial.worker.task_source import QueueTaskSource, open_task_source

LATER = 3600.0


@pytest.fixture
def queue(tmp_path: Path) -> TaskQueue:
    made = TaskQueue(tmp_path / "queue", "now")
    made.open()
    return made


def put(queue: TaskQueue, *names: str) -> list[Task]:
    tasks = [
        Task(str(Run.create(queue.folder.parent / name, TrainConfig()).path), 1) for name in names
    ]
    for task in tasks:
        queue.put(task)
    return tasks


def open_queue(
    queue: TaskQueue, trials: int = 9, idle: float = 0.3, seconds: float = LATER
) -> QueueTaskSource:
    return QueueTaskSource(queue, "7", trials, idle, time.time() + seconds)


def test_tasks_come_until_no_more_may_be_taken(queue: TaskQueue) -> None:
    tasks = put(queue, "a", "b", "c")
    box = open_queue(queue, trials=2)
    assert queue.has_started("7")
    for task in tasks[:2]:
        assert box.next() == task
        box.answer(task, {"outcome": "failed", "error": {"kind": "disk", "message": "full"}})
    assert box.next() is None
    assert [given.task for given in queue.answers()] == ["a-1.json", "b-1.json", None]
    assert queue.waiting() == {"c-1.json"}


def test_the_waiting_tasks_of_a_group_come_together(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth, other = (
        replace(task, group="other" if task.trial == "e" else "heads")
        for task in put(queue, "a", "b", "c", "d", "e")
    )
    for name in queue.waiting():
        queue.withdraw(name)
    queue.put(first)
    queue.put(other)
    late = [second, third, fourth]

    def queue_another(_seconds: float) -> None:
        """Be a driver that is still queueing when the worker looks."""
        if late:
            queue.put(late.pop(0))

    monkeypatch.setattr(time, "sleep", queue_another)
    box = QueueTaskSource(queue, "7", 4, 0.3, time.time() + LATER, together=3)
    assert box.next() == first
    assert box.beside(first) == [second, third]
    for task in (first, second, third):
        box.answer(task, {"outcome": "finished"})
    queue.put(fourth)
    assert box.next() == other, "it has waited longest"
    assert box.beside(other) == []
    box.answer(other, {"outcome": "finished"})
    assert box.next() is None, "four trials are all that it may take"
    assert queue.waiting() == {"d-1@heads.json"}


def test_an_error_is_in_the_answer(queue: TaskQueue) -> None:
    (task,) = put(queue, "a")
    box = open_queue(queue)
    box.next()
    box.answer(task, {"outcome": "failed", "error": {"kind": "disk", "message": "full"}})
    assert queue.answers() == [Answer("7", "a-1.json", "failed", ("disk", "full"))]


def test_a_superseded_worker_goes_without_a_word(queue: TaskQueue) -> None:
    (task, _) = put(queue, "a", "b")
    zombie, requeued = open_queue(queue), open_queue(queue)  # the same job, twice
    assert zombie.next() == task
    again = requeued.next()
    zombie.answer(task, {"outcome": "superseded"})
    assert zombie.next() is None
    assert queue.answers() == []
    assert queue.claimed() == {"a-1.json": "7"}
    assert again
    requeued.answer(again, {"outcome": "finished"})
    assert queue.answers() == [Answer("7", "a-1.json", "finished")]


def test_an_idle_worker_leaves(queue: TaskQueue) -> None:
    box = open_queue(queue, idle=0.4)
    assert box.next() is None
    assert queue.answers() == [Answer("7", None, "left")]


def test_a_closed_queue_is_left_at_once_but_what_waits_is_done(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(_seconds: float) -> None:
        raise AssertionError("it waits for tasks that will not come")

    monkeypatch.setattr(time, "sleep", wait)
    (task,) = put(queue, "a")
    queue.close()
    box = open_queue(queue, idle=60)
    assert box.next() == task
    box.answer(task, {"outcome": "finished"})
    assert box.next() is None


def test_a_restarted_worker_goes_on_under_a_new_attempt(queue: TaskQueue) -> None:
    (task,) = put(queue, "a")
    open_queue(queue).next()
    with Run(task.run).recorder(1) as recorder:
        recorder.write({"epoch": 0})
    box = open_queue(queue)
    again = box.next()
    assert again
    assert (again.attempt, again.name) == (2, "a-1.json")
    box.answer(again, {"outcome": "finished"})
    assert queue.answers() == [Answer("7", "a-1.json", "finished")]
    assert queue.claimed() == {}


def test_a_job_that_is_nearly_over_takes_no_trial(
    queue: TaskQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = put(queue, "a", "b", "c")
    box = open_queue(queue, idle=60, seconds=1000)
    assert box.next() == tasks[0]
    later, much_later = time.time() + 600, time.monotonic() + 600
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "monotonic", lambda: much_later)
    box.answer(tasks[0], {"outcome": "finished"})
    assert box.next() is None, "another one of 600 s would not be done in time"
    assert queue.waiting() == {"b-1.json", "c-1.json"}


def test_a_command_line_says_which(queue: TaskQueue, capfd: pytest.CaptureFixture[str]) -> None:
    values = {
        "--queue": str(queue.folder),
        "--edition": "now",
        "--name": "7",
        "--trials": "1",
        "--together": "1",
        "--idle": "0",
    }
    values["--end"] = "9e9"
    assert isinstance(
        open_task_source([word for pair in values.items() for word in pair], None), QueueTaskSource
    )
    for wrong in (["--queue"], ["--queue", "x"], [*values, "x"]):
        with pytest.raises(SystemExit, match=f"must be {source.OPTIONS}, or none"):
            open_task_source(wrong, None)
    assert capfd.readouterr().out == ""


WORKER = """
import os, sys, time
from fieldtrial.worker.task_source import open_task_source
box = open_task_source([], os.fdopen(os.dup(1), "wb", buffering=0))
while task := box.next():
    time.sleep(float(sys.argv[1]))
    box.answer(task, {"outcome": "finished"})
"""


def test_the_end_of_the_standard_input_ends_an_idle_worker() -> None:
    command = [sys.executable, "-c", WORKER, "0"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        for attempt in (1, 2):
            worker.stdin.write(
                json.dumps({"run": "/x/a", "attempt": attempt, "test": False}) + "\n"
            )
            worker.stdin.flush()
            assert json.loads(worker.stdout.readline()) == {"run": "/x/a", "outcome": "finished"}
        worker.stdin.close()
        assert worker.wait(60) == 0


def test_the_end_of_the_standard_input_ends_a_training_worker_at_once() -> None:
    command = [sys.executable, "-c", WORKER, "60"]
    done = subprocess.run(
        command,
        input='{"run": "/x/a", "attempt": 1}\n',
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
