"""The task queue of a sweep: how a driver gives trials to workers that it cannot talk to.

A task is a small file. The driver puts it into the queue. A worker claims it by renaming it into
its own folder, so that one worker gets it, and answers with a line in its own answer file. If a
worker dies, its claimed task stays in its folder.
"""

import contextlib
import errno
import fnmatch
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from fieldtrial.disk.files import (
    LineWriter,
    is_there,
    read_json,
    refresh,
    whole_lines,
    write_atomically,
    write_json,
)
from fieldtrial.disk.inside import Inside, RefusedError
from fieldtrial.disk.reading import UnreadableError, decode
from fieldtrial.disk.run import Run
from fieldtrial.disk.work.shards import in_its_sweep

TERMINATED = "terminated-{}"
# Of a task's file: the trial, the attempt and, where there is one, the group.
NAME = re.compile(r".+-([1-9][0-9]{0,8})(?:@(\w+))?\.json", re.DOTALL)


@dataclass(frozen=True)
class Task:
    """One attempt at one trial. The fields are what is written as JSON.

    run: the run directory, as an absolute path.
    attempt: the number of the attempt; a worker that is restarted takes the next free one.
    test: whether the kept weights are tested at the end.
    accumulate: the number of micro-batches per optimiser step (gradient accumulation).
    restarts: by how much `attempt` has grown since the task was queued.
    group: a worker may do tasks with the same word together; "" for one that it does alone.
    """

    run: str
    attempt: Annotated[int, Meta(ge=1)]
    test: bool = False
    accumulate: Annotated[int, Meta(ge=1)] = 1
    restarts: Annotated[int, Meta(ge=0)] = 0
    group: str = ""

    @property
    def trial(self) -> str:
        """The name of the trial's run directory."""
        return Path(self.run).name

    @property
    def name(self) -> str:
        """The task's file name: the trial, the attempt as which it was queued, and the group.

        So whoever looks for tasks of a group opens no others.
        """
        group = f"@{self.group}" if self.group else ""
        return f"{self.trial}-{self.attempt - self.restarts}{group}.json"

    def open_run(self) -> Run:
        """Return the run directory, which must not be a link."""
        return Run(in_its_sweep(Path(self.run)))

    def log_path(self, rank: int = 0) -> Inside:
        """Return the file for what a process that does the task prints."""
        return self.open_run().log_path(self.attempt, rank)

    def again(self, attempts: Collection[int]) -> "Task":
        """Return the task with the first number, from its own on, that is not in `attempts`."""
        free = max([self.attempt - 1, *attempts]) + 1
        return replace(self, attempt=free, restarts=self.restarts + free - self.attempt)


@dataclass(frozen=True)
class Answer:
    """A worker's answer to a task: its outcome, and the kind and message of a failure.

    `task` is the task's file name, or None where the worker says that it will take no more.
    """

    worker: str
    task: str | None
    outcome: str
    error: tuple[str, str] | None = None


class TaskQueue:
    """The queue's folder: tasks-EDITION/ has waiting tasks, workers/NAME/ claimed ones and answers.

    edition: identifies the program that workers run and the resources of their jobs. Workers of
    another edition, started before a change, get no more tasks. To clean up, none is needed.

    Neither the folder nor anything in it may be a link, and no task of another sweep is given to a
    worker: the methods raise RefusedError.
    """

    def __init__(self, folder: Path | str | Inside, edition: str = "") -> None:
        path = folder.path if isinstance(folder, Inside) else Path(folder)
        self.folder = Inside(path.parent, (path.name,))
        self._waiting = self.folder / f"tasks-{edition}"
        self._workers = self.folder / "workers"
        self._offsets: dict[str, int] = {}

    # The driver's side

    def put(self, task: Task) -> None:
        """Add `task` to the queue."""
        write_json(self._waiting / task.name, asdict(task))

    def withdraw(self, name: str) -> None:
        """Remove a task that no worker has claimed."""
        for folder in self._editions():
            (folder / name).unlink(missing_ok=True)

    def forget(self, worker: str, name: str) -> None:
        """Remove a task that a worker has claimed: the worker is gone."""
        (self._workers / worker / name).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Remove all claimed tasks: their workers have been told to end."""
        for name, worker in self.claimed().items():
            self.forget(worker, name)

    def waiting(self) -> set[str]:
        """Return the names of the tasks that no worker has claimed."""
        return {name for folder in self._editions() for name in _tasks(folder)}

    def workers(self) -> list[str]:
        """Return the names of the workers that there ever were."""
        return self._workers.names()

    def claimed(self, workers: Collection[str] | None = None) -> dict[str, str]:
        """Return {task name: worker} of the tasks that are claimed and not answered.

        workers: those that count. The files of others may be left over, or a stranger's.
        """
        among = self.workers() if workers is None else workers
        return {name: worker for worker in among for name in self.claims(worker)}

    def claims(self, worker: str) -> set[str]:
        """Return the names of the tasks that a worker has claimed and not answered."""
        return set(_tasks(self._workers / worker))

    def has_started(self, worker: str) -> bool:
        """Return whether a worker has registered."""
        return is_there(self._workers / worker / "worker.json")

    def terminations(self, worker: str) -> int:
        """Return how many of a worker's processes got SIGTERM since its job was last started."""
        names = (self._workers / worker).names()
        return len(fnmatch.filter(names, TERMINATED.format("*")))

    def answers(self, workers: Collection[str] | None = None) -> list[Answer]:
        """Return the new answers of these workers, or of all workers, since the last call."""
        refresh(self._workers)
        names = self._workers.names() if workers is None else workers
        return [answer for name in sorted(names) for answer in self._new_answers(name)]

    def rewind(self) -> None:
        """Make `answers` return all answers again."""
        self._offsets.clear()

    def close(self) -> None:
        """Tell idle workers that there will be no more tasks."""
        write_atomically(self.folder / "closed", b"")

    def open(self) -> bool:
        """Reopen the queue; move all waiting tasks to this edition. Returns whether it is new."""
        is_new = not is_there(self._waiting)
        self._waiting.mkdir(parents=True, exist_ok=True)
        for other in set(self._editions()) - {self._waiting}:
            for name in _tasks(other):
                with contextlib.suppress(FileNotFoundError):  # a worker has claimed it meanwhile
                    (other / name).rename(self._waiting / name)
            other.rmtree()  # its workers find their queue closed
        (self.folder / "closed").unlink(missing_ok=True)
        return is_new

    def _editions(self) -> Iterator[Inside]:
        """Yield the folders of waiting tasks."""
        for name in fnmatch.filter(self.folder.names(), "tasks-*"):
            yield self.folder / name

    # A worker's side

    @property
    def closed(self) -> bool:
        """Whether there will be no more tasks for this edition's workers."""
        return is_there(self.folder / "closed") or not is_there(self._waiting)

    def rendezvous(self, worker: str, start: str) -> Path:
        """Return the file in which rank 0 publishes its address; a new one for each job start."""
        return Path(self._workers / worker / f"rendezvous-{start}")

    def termination(self, worker: str, process: str) -> Inside:
        """Return the file that one of a worker's processes creates when it gets SIGTERM."""
        return self._workers / worker / TERMINATED.format(process)

    def register(self, worker: str, facts: dict[str, Any]) -> None:
        """Record that `worker` has started, with `facts` such as its node."""
        write_json(self._workers / worker / "worker.json", facts | {"started": time.time()})

    def claim(self, worker: str) -> Task | None:
        """Return a task for `worker`, or None: one it had claimed before a restart comes first."""
        own = self._workers / worker
        for name in _tasks(own):
            if task := self._read_task(own / name):
                return task
        for path in sorted((self._waiting / name for name in _tasks(self._waiting)), key=_age):
            with contextlib.suppress(FileNotFoundError):  # another worker has claimed it
                path.rename(own / path.name)
                if task := self._read_task(own / path.name):
                    return task
        return None

    def claim_group(self, worker: str, first: Task, most: int) -> list[Task]:
        """Return `first`, which `worker` has claimed, and up to `most` - 1 more tasks of its group.

        Those that the worker had claimed before a restart come first, as with `claim`.
        """
        own, found = self._workers / worker, [first]
        if not first.group:
            return found
        claimed = [own / name for name in _tasks(own, first.group) if name != first.name]
        waiting = (self._waiting / name for name in _tasks(self._waiting, first.group))
        for path in (*claimed, *sorted(waiting, key=_age)):
            if len(found) >= most:
                break
            with contextlib.suppress(FileNotFoundError):  # another worker has claimed it
                if path.parent != own:
                    path.rename(own / path.name)
                if (task := self._read_task(own / path.name)) and task.group == first.group:
                    found.append(task)
        return found

    def count_waiting(self, group: str) -> int:
        """Return how many tasks of a group no worker has claimed."""
        return len(_tasks(self._waiting, group))

    def answer(self, answer: Answer) -> None:
        """Append an answer to the worker's file, synced, and remove the claimed task."""
        own = self._workers / answer.worker
        with LineWriter(own / "answers.jsonl") as file:
            file.write(asdict(answer))
        if answer.task is not None:
            (own / answer.task).unlink(missing_ok=True)

    def _read_task(self, path: Inside) -> Task | None:
        """Return the task in a file, or None where it is another's by now, or damaged: nobody
        answers it. A stranger's may name a run of another sweep.
        """
        task: Task | None = None
        with contextlib.suppress(UnreadableError):
            task = read_json(path, Task)
        if task is None:
            return None
        sweep = self.folder.root.resolve()
        given, name = in_its_sweep(Path(task.run)), Path(task.run).name
        if "\0" in task.run or name in ("", "..") or given.root.resolve() != sweep:
            raise RefusedError(errno.EINVAL, f"its run {task.run} is not in {sweep}", str(path))
        return replace(task, run=str(sweep.joinpath(*given.parts)))

    def _new_answers(self, worker: str) -> list[Answer]:
        refresh(self._workers / worker)
        offset = self._offsets.get(worker, 0)
        try:
            whole = whole_lines(self._workers / worker / "answers.jsonl", offset)
        except FileNotFoundError:
            return []
        self._offsets[worker] = offset + len(whole)
        return [answer for line in whole.splitlines() if (answer := _parse_answer(line))]


def run_name(task: str) -> str:
    """Return the trial of the task with this file name."""
    return task.rpartition("-")[0]


def attempt_number(task: str) -> int:
    """Return the attempt as which the task with this file name was queued."""
    match = NAME.fullmatch(task)
    assert match, task
    return int(match[1])


def _parse_answer(line: bytes) -> Answer | None:
    """Return the answer in a line, or None for a torn one, whose task is answered again."""
    with contextlib.suppress(UnreadableError):
        answer: Answer = decode(line, Answer, "")
        return answer
    return None


def _tasks(folder: Inside, group: str | None = None) -> list[str]:
    """Return the names of the tasks in a folder; with `group`, of that group alone."""
    found = (NAME.fullmatch(name) for name in folder.names())
    return [one[0] for one in found if one and group in (None, one[2])]


def _age(path: Inside) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0.0
