"""The task queue of a sweep: how a driver hands trials to workers that it cannot talk to, and hears
back from them.

A task is a small file. The driver puts it into the queue, a worker claims it by moving it into a
folder of its own (a
rename: of two workers one gets it), and answers by a line in its own answer file. Who dies leaves
behind what it had.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import is_there, read_json, refresh, write_atomically, write_json

TERMINATED = "terminated-{}"


@dataclass(frozen=True)
class QueuedTask:
    """One attempt at one trial.

    run: the run directory, as the worker finds it.
    attempt: the number that the attempt's files carry at least; a worker that is started again
    takes the next.
    test: whether the kept weights are tested at the end.
    accumulate: into how many parts each batch is cut, one after another, where a device cannot hold
    it at once.
    restarts: by how much the attempt's number has grown since the task was queued, because its
    worker started again.
    """

    run: str
    attempt: int
    test: bool = False
    accumulate: int = 1
    restarts: int = 0

    @property
    def name(self) -> str:
        """The task's file name: the trial, and the attempt as which it was queued."""
        return f"{Path(self.run).name}-{self.attempt - self.restarts}.json"

    def again(self, attempts: Collection[int]) -> "QueuedTask":
        """Return the task under the first number from its own that none of the run's
        attempts has.
        """
        free = max([self.attempt - 1, *attempts]) + 1
        return replace(self, attempt=free, restarts=self.restarts + free - self.attempt)


@dataclass(frozen=True)
class Answer:
    """What a worker says of a task it is done with: the outcome, and the kind and message of a
    failure.

    `task` is None where the worker says that it will take no more.
    """

    worker: str
    task: str | None
    outcome: str
    error: tuple[str, str] | None = None


class TaskQueue:
    """The queue's folder: tasks-EDITION/ for what waits, workers/NAME/ for what a worker has
    claimed and answered.

    edition: stands for the program that workers run, and for what they have to run it on. Workers
    of another one, which a driver asked for before something was changed, are given no more tasks.
    Whoever only clears up needs none.
    """

    def __init__(self, folder: Path | str, edition: str = "") -> None:
        self.folder = Path(folder)
        self._waiting = self.folder / f"tasks-{edition}"
        self._workers = self.folder / "workers"
        self._offsets: dict[str, int] = {}

    # The driver's side

    def put(self, task: QueuedTask) -> None:
        """Let a worker have `task`."""
        write_json(self._waiting / task.name, asdict(task))

    def withdraw(self, name: str) -> None:
        """Take a task back that nobody has claimed."""
        for path in self.folder.glob(f"tasks-*/{name}"):
            path.unlink(missing_ok=True)

    def forget(self, worker: str, name: str) -> None:
        """Take a task back from a worker that is gone."""
        (self._workers / worker / name).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Take all tasks back that workers have claimed: they have been told to end."""
        for name, worker in self.claimed().items():
            self.forget(worker, name)

    def waiting(self) -> set[str]:
        """Return the names of the tasks that nobody has claimed."""
        return {path.name for path in self.folder.glob("tasks-*/*.json")}

    def claimed(self) -> dict[str, str]:
        """Return {task name: worker} of the tasks that workers have claimed and not answered."""
        return {
            path.name: path.parent.name
            for path in self._workers.glob("*/*.json")
            if path.name != "worker.json"
        }

    def has_started(self, worker: str) -> bool:
        """Return whether a worker has registered."""
        return is_there(self._workers / worker / "worker.json")

    def terminations(self, worker: str) -> int:
        """Return how many of a worker's processes SLURM has told to end, in its present start."""
        return sum(1 for _ in (self._workers / worker).glob(TERMINATED.format("*")))

    def answers(self, workers: Collection[str] | None = None) -> list[Answer]:
        """Return the answers that these workers, or all that there ever were, have given since the
        last call.
        """
        refresh(self._workers)
        names = (
            [path.parent.name for path in self._workers.glob("*/answers.jsonl")]
            if workers is None
            else workers
        )
        return [answer for name in sorted(names) for answer in self._new_answers(name)]

    def rewind(self) -> None:
        """Have `answers` return all answers once more."""
        self._offsets.clear()

    def close(self) -> None:
        """Tell idle workers that there will be no more tasks."""
        write_atomically(self.folder / "closed", b"")

    def open(self) -> bool:
        """Take `close` back, and have what waits done by this edition's workers. Returns whether it
        is a new one.
        """
        is_new = not is_there(self._waiting)
        self._waiting.mkdir(parents=True, exist_ok=True)
        for other in set(self.folder.glob("tasks-*")) - {self._waiting}:
            for path in other.glob("*.json"):
                with contextlib.suppress(
                    FileNotFoundError
                ):  # one of the others' workers was quicker
                    path.rename(self._waiting / path.name)
            shutil.rmtree(
                other, ignore_errors=True
            )  # by which its workers see that there is no more for them
        (self.folder / "closed").unlink(missing_ok=True)
        return is_new

    # A worker's side

    @property
    def closed(self) -> bool:
        """Whether there will be no more tasks for this edition's workers."""
        return is_there(self.folder / "closed") or not is_there(self._waiting)

    def rendezvous(self, worker: str, start: str) -> Path:
        """Return the file in which a worker's first process says where the others find it; a new
        one for each start.
        """
        return self._workers / worker / f"rendezvous-{start}"

    def termination(self, worker: str, process: str) -> Path:
        """Return the file by which one of a worker's processes says that it was told to end."""
        return self._workers / worker / TERMINATED.format(process)

    def register(self, worker: str, facts: dict[str, Any]) -> None:
        """Say that `worker` has started, and where."""
        write_json(self._workers / worker / "worker.json", facts | {"started": time.time()})

    def claim(self, worker: str) -> QueuedTask | None:
        """Return a task for `worker`, first one that it had claimed before it was started again;
        None if none waits.
        """
        own = self._workers / worker
        for path in sorted(own.glob("*.json")):
            if path.name != "worker.json" and (task := _read_task(path)):
                return task
        for path in sorted(self._waiting.glob("*.json"), key=_age):
            with contextlib.suppress(FileNotFoundError):  # another worker was quicker
                path.rename(own / path.name)
                return _read_task(own / path.name)
        return None

    def answer(self, answer: Answer) -> None:
        """Say what became of a task, or that there is no use in waiting for this worker."""
        own = self._workers / answer.worker
        path = own / "answers.jsonl"
        with path.open("ab") as file:
            if file.tell() and not path.read_bytes().endswith(b"\n"):
                file.write(b"\n")  # closes the torn line of a worker that died in the middle of it
            file.write(json.dumps(asdict(answer)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if answer.task is not None:
            (own / answer.task).unlink(missing_ok=True)

    def _new_answers(self, worker: str) -> list[Answer]:
        refresh(self._workers / worker)
        try:
            with (self._workers / worker / "answers.jsonl").open("rb") as file:
                file.seek(self._offsets.get(worker, 0))
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[worker] = self._offsets.get(worker, 0) + len(whole)
        return [answer for line in whole.splitlines() if (answer := _parse_answer(line))]


def run_name(task: str) -> str:
    """Return the name of the run that the task of this name is an attempt at."""
    return task.rpartition("-")[0]


def attempt_number(task: str) -> int:
    """Return the number of the attempt that the task of this name was queued as."""
    return int(Path(task).stem.rpartition("-")[2])


def _parse_answer(line: bytes) -> Answer | None:
    """Return the answer in a line, or None for a torn one: its task is still claimed, and answered
    once more.
    """
    try:
        values = json.loads(line)
    except ValueError:
        return None
    error = values["error"]
    return Answer(
        values["worker"], values["task"], values["outcome"], error and (error[0], error[1])
    )


def _read_task(path: Path) -> QueuedTask | None:
    values = read_json(path)
    return None if values is None else QueuedTask(**values)


def _age(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0.0
