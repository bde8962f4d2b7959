"""python -m fieldtrial.training.attempt.worker: a warm process that runs one trial after another.

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
import errno
import faulthandler
import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.processes import age
from fieldtrial.training.attempt.task_source import TaskSource, open_task_source
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Superseded
from fieldtrial.training.loop.epoch import Diverged

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Out-of-memory messages of cuDNN, cuBLAS, NCCL and the CPU's allocator, which raise RuntimeError.
NO_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


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
    modules, start, is_first = 0, age(), True
    source = open_task_source(sys.argv[1:], answers) if world.is_rank_0 else None
    while fields := world.broadcast(_next(source)):
        task = Task(**fields)
        run = task.open_run()
        with printing_to(run.log_path(task.attempt, world.rank)):
            answer = work(task, world, DeviceClock(start, is_charged=is_first))
            is_first = False
            gc.collect()
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


def work(task: Task, world: World, clock: DeviceClock | None = None) -> dict[str, Any]:
    """Do one task and return its answer: the outcome and, of a failure, kind and message.

    clock: how long the attempt has held its devices; by default, it begins now.
    A run that has its result is done. The process ends here if it cannot continue: because the
    other processes wait for it in vain, or its GPU may be in any state.
    """
    run = task.open_run()
    try:
        if not world.broadcast(run.result()):
            for _ in train(Attempt.at(run, world, task.attempt, task.accumulate, task.test, clock)):
                pass
        result = world.broadcast(run.result())
        assert result
        return {"outcome": result["outcome"]}
    except Superseded as end:
        print(end, file=sys.stderr, flush=True)
        return {"outcome": "superseded"}
    except Exception as error:
        kind = kind_of(error)
        message = message_of(error, kind, run)
        if kind == "outage":
            await_folder(run.path)
        with contextlib.suppress(OSError):  # on a full disk, neither may be possible
            traceback.print_exc()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            tell(run, kind, message, error, task.attempt)
        if (world.size > 1 and kind != "diverged") or (
            world.device.type == "cuda" and kind == "error"
        ):
            os._exit(1)
        return {"outcome": "failed", "error": {"kind": kind, "message": message}}


def message_of(error: Exception, kind: str, run: Run) -> str:
    """Return the message for the user. Not every error of a full disk says so by itself."""
    if kind == "disk":
        return f"no space left for {_unwritten(error) or run.path}"
    return str(error).strip() or type(error).__name__


def _unwritten(error: BaseException | None) -> str | None:
    """Return the file on a full disk that `error` or one of its causes names, or None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE and error.filename:
            return str(error.filename)
        error = error.__cause__ or error.__context__
    return None


def tell(run: Run, kind: str, message: str, error: Exception, attempt: int) -> None:
    """Write error.json.

    It is left alone if another process of this attempt has written it, whose earlier failure may be
    the cause of this one, or if a newer attempt has begun.
    """
    if (run.error() or {}).get("attempt") != attempt and run.newest_attempt <= attempt:
        run.write_error(kind, message, attempt, "".join(traceback.format_exception(error)))


def kind_of(error: BaseException) -> str:
    """Return what kind of failure `error` is: diverged, memory, disk, outage, config or error."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY):
        return "memory"
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return "disk"
    if is_outage(error):
        return "outage"
    if cause and (kind := kind_of(cause)) in ("memory", "disk", "outage"):
        return kind  # torch.save, for one, only says that it could not write
    return "config" if isinstance(error, ValueError | FileNotFoundError) else "error"


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
