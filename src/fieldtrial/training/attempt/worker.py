"""python -m fieldtrial.training.attempt.worker: a warm process, or several together, that runs
trials one after another.

Tasks come from the standard input, as lines {"run": "<directory>", "attempt": 3, "test": false},
and answers go to the standard output, as lines {"run": "<directory>", "outcome": "finished" |
"stopped" | "failed"}; or, with --queue, both through a sweep's task queue (see inbox). A failure's
kind and message are in the answer too, for where a full disk keeps them out of the run's
error.json. Whatever else is printed goes to the run's log file; so does, on SIGUSR1, what all
threads are doing. The end of the input ends an idle worker; a training one dies at once, because
nobody waits for it any more. Where the run's file system is away, a worker waits until it is back,
and then fails with an "outage", no fault of the trial's. A worker that can no longer be trusted
ends without an answer: the run's error.json says why. One that finds a newer attempt at work on its
trial leaves it at that, and its outcome is "superseded".
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
from pathlib import Path
from typing import Any

import torch

from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.task_source import open_inbox
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Superseded

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# What cuDNN, cuBLAS, NCCL and the CPU's allocator say in errors of no kind of their own.
NO_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


def main() -> None:
    """Run the tasks of the inbox until there are no more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    faulthandler.register(
        signal.SIGUSR1, file=2, all_threads=True
    )  # descriptor 2 is a log file while there is a task
    try:
        world = World.from_environment()
    except ValueError as error:
        sys.exit(str(error))
    modules = 0
    inbox = open_inbox(sys.argv[1:], answers) if world.is_main else None
    while task := world.broadcast(inbox.next() if inbox else None):
        run = Run(task.run)
        with printing_to(run.log_path(task.attempt, world.rank)):
            answer = work(run, world, task.attempt, task.test, task.accumulate)
            gc.collect()
            if (
                len(sys.modules) > modules
            ):  # what imports made stays: later collections need not look at it, for 0.2 s
                gc.freeze()
                modules = len(sys.modules)
            if world.device.type == "cuda":
                torch.cuda.empty_cache()
        if inbox:
            inbox.answer(task, answer)
    world.close()
    gc.unfreeze()


def work(run: Run, world: World, attempt: int, test: bool, accumulate: int = 1) -> dict[str, Any]:
    """Do one task and return its outcome: finished, stopped, superseded, or failed with the error's
    kind and message.

    A run that has its result is done. The process ends here if it cannot go on: the other processes
    of its world are waiting for it in vain, or its GPU may be in any state.
    """
    try:
        if not world.broadcast(run.result()):
            for _ in train(run, world, attempt, test, accumulate):
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
            tell(run, kind, message, error, attempt)
        if (world.size > 1 and kind != "diverged") or (
            world.device.type == "cuda" and kind == "error"
        ):
            os._exit(1)
        return {"outcome": "failed", "error": {"kind": kind, "message": message}}


def message_of(error: Exception, kind: str, run: Run) -> str:
    """Return what the user should read: a full disk shows in many ways, some of which do not say
    so, or not which.
    """
    if kind == "disk":
        return f"no space left for {_unwritten(error) or run.path}"
    return str(error).strip() or type(error).__name__


def _unwritten(error: BaseException | None) -> str | None:
    """Return the file that was being written to a full disk, where an error or one of its causes
    names it.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE and error.filename:
            return str(error.filename)
        error = error.__cause__ or error.__context__
    return None


def tell(run: Run, kind: str, message: str, error: Exception, attempt: int) -> None:
    """Write error.json, unless another process of this attempt has: its failure came first, and may
    be the cause.

    Nor has an attempt anything to say that a newer one has taken over from.
    """
    if (run.error() or {}).get("attempt") != attempt and max(run.attempts(), default=0) <= attempt:
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
        return kind  # torch.save says only that it could not write
    return "config" if isinstance(error, ValueError | FileNotFoundError) else "error"


@contextlib.contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """Append to `path` whatever this process prints meanwhile, C++ libraries included."""
    saved = os.dup(2)
    try:
        with contextlib.suppress(OSError):  # a full disk: the trial will say so itself
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
