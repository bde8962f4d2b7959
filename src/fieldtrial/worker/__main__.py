"""python -m fieldtrial.worker: a warm process that does one task after another.

A launcher or a job starts several such processes for trials that train on several devices. Tasks
come from the standard input, as lines {"run": "<directory>", "attempt": 3, "test": false}. Answers
go to the standard output, as lines {"run": "<directory>", "outcome": "finished" | "stopped" |
"superseded" | "failed"}; a failure's answer has its kind and message too, because a full disk may
keep them out of error.json. With --queue, tasks and answers go through a sweep's task queue
instead.

Everything else that is printed goes to the run's log file. So do, on SIGUSR1, the stack traces of
all threads. At the end of its input, an idle worker ends; a training worker dies at once, because
its owner is gone. If the run's file system is unreachable, the worker waits until it is back, and
then fails with an "outage", which is no fault of the trial. A worker that can no longer be trusted
ends without an answer; error.json says why.
"""

import contextlib
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.task_queue import Task
from fieldtrial.processes import age
from fieldtrial.training.attempt.memory import keep_freed_memory, return_freed_memory
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.worker.task_source import TaskSource, open_task_source
from fieldtrial.worker.tasks import work


def main() -> None:
    """Run the tasks of the source until there are no more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # Descriptor 2 is a run's log file while there is a task.
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    try:
        world = World.from_environment()
    except ValueError as error:
        sys.exit(str(error))
    keep_freed_memory()
    modules, start, is_first = 0, age(), True
    source = open_task_source(sys.argv[1:], answers) if world.is_rank_0 else None
    while fields := world.broadcast(_next(source)):
        task = Task(**fields)
        run = task.open_run()
        with printing_to(run.log_path(task.attempt, world.rank)):
            answer = work(task, world, DeviceClock(start, is_charged=is_first))
            is_first = False
            gc.collect()
            return_freed_memory()
            if len(sys.modules) > modules:
                # Imported objects stay: later collections skip them, and save 0.2 s each.
                gc.freeze()
                modules = len(sys.modules)
            if world.device.type == "cuda":
                torch.cuda.empty_cache()
        if source:
            source.answer(task, answer)
    world.close()
    gc.unfreeze()


def _next(source: TaskSource | None) -> dict[str, Any] | None:
    """Return the next task's fields to rank 0, which has the source; None if there are no more."""
    task = source.next() if source else None
    return asdict(task) if task else None


@contextlib.contextmanager
def printing_to(path: Inside) -> Iterator[None]:
    """Append to `path` what this process prints in this context, C++ libraries included."""
    saved = os.dup(2)
    try:
        with contextlib.suppress(OSError):  # a full disk: the trial itself reports it
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os.dup2(saved, 1)
        os.dup2(saved, 2)
        os.close(saved)


if __name__ == "__main__":
    main()
