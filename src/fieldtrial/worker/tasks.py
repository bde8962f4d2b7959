"""One task: training a trial, or a part of a video. The run directory says which."""

import contextlib
import os
import sys
import traceback
from typing import Any

from fieldtrial.disk.outages import await_folder
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.disk.work.videos import SegmentRun
from fieldtrial.training.attempt.failures import kind_of, message_of, tell
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Superseded


def work(task: Task, world: World, clock: DeviceClock | None = None) -> dict[str, Any]:
    """Do one task and return its answer: the outcome and, of a failure, kind and message.

    clock: how long the attempt has held its devices; by default, it begins now.
    A run that has its result is done. The process ends here if it cannot continue: because the
    other processes wait for it in vain, or its GPU may be in any state.
    """
    run = task.open_run()
    try:
        if not world.broadcast(run.result()):
            _do(task, run, world, clock)
        result = world.broadcast(run.result())
        assert result
        return {"outcome": result["outcome"]}
    except Superseded as end:
        print(end, file=sys.stderr, flush=True)
        return {"outcome": "superseded"}
    except Exception as error:
        return failure(task, world, error)


def failure(task: Task, world: World, error: Exception) -> dict[str, Any]:
    """Tell a task's error in its run directory and log; return the answer.

    The process ends here if it cannot continue: see `work`.
    """
    run = task.open_run()
    kind = kind_of(error)
    message = message_of(error, kind, run)
    if kind == "outage":
        await_folder(run.path)
    with contextlib.suppress(OSError):  # on a full disk, neither may be possible
        traceback.print_exception(error)
        sys.stderr.flush()
    with contextlib.suppress(OSError):
        tell(run, kind, message, error, task.attempt)
    if (world.size > 1 and kind != "diverged") or (world.device.type == "cuda" and kind == "error"):
        os._exit(1)
    return {"outcome": "failed", "error": {"kind": kind, "message": message}}


def _do(task: Task, run: Run, world: World, clock: DeviceClock | None) -> None:
    """Do the task that the run directory holds."""
    if not SegmentRun(run).exists():
        for _ in train(Attempt.at(run, world, task.attempt, task.accumulate, task.test, clock)):
            pass
        return
    from fieldtrial.video.segments.work import work_at  # late: trials need no video

    assert world.size == 1, "a video's task has one process"
    work_at(run, task.attempt, task.accumulate, world.device)
