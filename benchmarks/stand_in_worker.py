"""A worker that speaks the training worker's protocol and sleeps instead of training: for what
orchestration costs.

EPOCH_SECONDS is how long an epoch takes. The accuracy is a smooth function of lr, weight_decay and
the epoch, with a little noise that depends on the config alone, so that a search has something to
find and repeats exactly.
"""

import math
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from fieldtrial.config import TrainConfig
from fieldtrial.disk.outages import await_folder, is_outage
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.attempt.stop_poll import StopPoll
from fieldtrial.worker.task_source import open_task_source

STEPS = 10
EPOCH_SECONDS = float(os.environ.get("EPOCH_SECONDS", "0"))


def accuracy(config: TrainConfig, epoch: int) -> float:
    """Return the validation accuracy after `epoch` epochs, in 0..1."""
    noise = random.Random(f"{config.id}-{epoch}").gauss(0, 0.01)
    quality = 1 - (math.log10(config.lr) + 2) ** 2 / 16 - (config.weight_decay - 0.02) ** 2
    return (
        min(1.0, max(0.0, 0.1 + 0.9 * quality * (1 - math.exp(-epoch / 3)) + noise))
        if epoch
        else 0.1
    )


def record_of(config: TrainConfig, epoch: int) -> Record:
    """Return the record of one epoch."""
    value = accuracy(config, epoch)
    return {
        "epoch": epoch,
        "step": epoch,
        "train_loss": 1 - value,
        "train_accuracy": value,
        "validation_loss": 1 - value,
        "validation_accuracy": value,
        "seconds": EPOCH_SECONDS,
        "best_epoch": max(range(1, epoch + 1), key=lambda one: accuracy(config, one), default=0),
    }


def is_stopped_in_epoch(stop: StopPoll) -> bool:
    """Sleep through an epoch's steps; return True if it is left in its middle, as the training
    worker would.
    """
    for step in range(1, STEPS + 1):
        time.sleep(EPOCH_SECONDS / STEPS)
        if step < STEPS and stop():
            return True
    return False


def train(run: Run, attempt: int, test: bool) -> str:
    """Go through the epochs that are left, and return the outcome."""
    config = run.config()
    if run.result() is not None:
        return "finished"
    done = [record["epoch"] for record in run.records()]
    outcome, epoch, stop = "finished", max(done, default=-1), StopPoll(run)
    with run.recorder(attempt) as recorder:
        for epoch in range(max(done, default=-1) + 1, config.epochs + 1):
            if epoch > 0 and is_stopped_in_epoch(stop):
                epoch, outcome = epoch - 1, "stopped"
                break
            if (config.dropout or 0) > 0.9:
                run.write_error("error", "planted error", attempt, "Traceback of the planted error")
                return "failed"
            if config.lr > 10 and epoch > 0:
                run.write_error("diverged", f"loss is nan at step {epoch}", attempt)
                return "failed"
            if max(run.attempts()) > attempt:
                return "superseded"
            recorder.write(record_of(config, epoch))
            if run.stop_requested() and epoch < config.epochs:
                outcome = "stopped"
                break
    best = max(run.records(), key=lambda record: record["validation_accuracy"])
    result = {
        "outcome": outcome,
        "epochs": epoch,
        "best_epoch": best["epoch"],
        "minutes": epoch * EPOCH_SECONDS / 60,
    }
    result |= {name: best[name] for name in ("validation_accuracy", "validation_loss")}
    result |= {"test_accuracy": accuracy(config, config.epochs), "test_loss": 0.0} if test else {}
    run.write_result(
        result | {"parameters": 10, "trainable_parameters": 5, "flops": 100, "attempt": attempt}
    )
    return outcome


def wait_for_the_first(end: Path) -> None:
    """Be another process of a job with several: the first does all there is to do, and says when it
    is done.
    """
    while not end.exists():
        time.sleep(0.1)


def answer_to(task: Task) -> dict[str, Any]:
    """Do a task and return its answer."""
    try:
        return {"outcome": train(Run(task.run), task.attempt, task.test)}
    except OSError as error:
        kind = "outage" if is_outage(error) else "disk"
        if kind == "outage":
            await_folder(Path(task.run))
        return {"outcome": "failed", "error": {"kind": kind, "message": str(error)}}


def main() -> None:
    """Answer tasks until there are no more."""
    end = Path(os.environ.get("FIELDTRIAL_RENDEZVOUS", "alone") + "-end")
    if os.environ.get("RANK", "0") != "0":
        wait_for_the_first(end)
        return
    source = open_task_source(sys.argv[1:], os.fdopen(os.dup(1), "wb", buffering=0))
    while first := source.next():
        for task in (first, *source.beside(first)):
            source.answer(task, answer_to(task))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        end.touch()


if __name__ == "__main__":
    main()
