"""python -m fieldtrial.training.worker: a warm process, or several under torchrun, that runs trials one after another.

Tasks are lines on the standard input, {"run": "<directory>", "attempt": 3, "test": false}, answers are lines on the
standard output, {"run": "<directory>", "outcome": "finished" | "stopped" | "failed"}; a failure's kind and message are
added, for where a full disk keeps them out of the run's error.json. Everything else that is printed goes to the run's
log file. The end of the input ends an idle worker; a training one dies at once, because nobody waits for it any more.
A worker that can no longer be trusted ends without an answer: the run's error.json says why.
"""

import contextlib
import errno
import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fieldtrial.run import Run
from fieldtrial.training.epoch import Diverged
from fieldtrial.training.trial import train
from fieldtrial.training.world import World

Task = dict[str, Any]
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Tasks:
    """Reads the tasks of the standard input in a thread, so that the owner's death is noticed while training."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._read_count = 0
        self._answered_count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Task | None:
        """Return the next task, or None when there will be no more."""
        line = self._lines.get()
        return json.loads(line) if line else None

    def answered(self) -> None:
        """Note that a task is done with."""
        self._answered_count += 1

    def _read(self) -> None:
        with open(0, "rb", buffering=0, closefd=False) as lines:  # unbuffered: no lock is held at the process's end
            for line in lines:
                self._read_count += 1
                self._lines.put(line)
        if self._read_count > self._answered_count:
            os._exit(1)
        self._lines.put(b"")


def main() -> None:
    """Run the tasks of the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        world = World.from_environment()
    except ValueError as error:
        sys.exit(str(error))
    modules = 0
    tasks = Tasks() if world.is_main else None
    while task := world.broadcast(tasks.next() if tasks else None):
        run = Run(task["run"])
        with printing_to(run.log_path(task["attempt"])):
            answer = work(run, world, task["attempt"], task["test"])
            gc.collect()
            if len(sys.modules) > modules:  # what imports made stays: later collections need not look at it, for 0.2 s
                gc.freeze()
                modules = len(sys.modules)
            if world.device.type == "cuda":
                torch.cuda.empty_cache()
        if tasks:
            answers.write(json.dumps({"run": task["run"], **answer}).encode() + b"\n")
            tasks.answered()
    world.close()
    gc.unfreeze()


def work(run: Run, world: World, attempt: int, test: bool) -> dict[str, Any]:
    """Do one task and return its outcome: finished, stopped, or failed with the error's kind and message.

    A run that has its result is done. The process ends here if it cannot go on: the other processes of its world are
    waiting for it in vain, or its GPU may be in any state.
    """
    try:
        if not world.broadcast(run.result()):
            for _ in train(run, world, attempt, test):
                pass
        result = world.broadcast(run.result())
        assert result
        return {"outcome": result["outcome"]}
    except Exception as error:
        kind = kind_of(error)
        message = message_of(error, kind, run)
        with contextlib.suppress(OSError):  # on a full disk, neither may be possible
            traceback.print_exc()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            tell(run, kind, message, error, attempt)
        if (world.size > 1 and kind != "diverged") or (world.device.type == "cuda" and kind == "error"):
            os._exit(1)
        return {"outcome": "failed", "error": {"kind": kind, "message": message}}


def message_of(error: Exception, kind: str, run: Run) -> str:
    """Return what the user should read: a full disk shows in many ways, some of which do not say so."""
    return f"no space left for {run.path}" if kind == "disk" else str(error).strip() or type(error).__name__


def tell(run: Run, kind: str, message: str, error: Exception, attempt: int) -> None:
    """Write error.json, unless another process of this attempt has: its failure came first, and may be the cause."""
    if (run.error() or {}).get("attempt") != attempt:
        run.write_error(kind, message, attempt, "".join(traceback.format_exception(error)))


def kind_of(error: BaseException) -> str:
    """Return what kind of failure `error` is: diverged, memory, disk, config or error."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return "disk"
    if cause and (kind := kind_of(cause)) in ("memory", "disk"):
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
