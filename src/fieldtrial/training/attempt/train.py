"""One attempt at a trial, with all the files that it leaves in the run's directory."""

import contextlib
import os
import shlex
import traceback
from collections.abc import Generator, Iterator
from typing import Any

import safetensors.torch
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.environment import environment, uncommitted_changes
from fieldtrial.training.attempt.task_source import StopLook
from fieldtrial.training.attempt.tensorboard import Board
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Progress, fit, give_way
from fieldtrial.training.scoring.evaluation import score_state
from fieldtrial.training.scoring.predictions import Split
from fieldtrial.training.svm.classifier import fit_svm


def train(
    run: Run, world: World, attempt: int, test: bool = False, accumulate: int = 1
) -> Generator[Record]:
    """Train the trial of `run` from where it is, yield its records, and write everything into its
    directory.

    A stop file ends it, also in the middle of an epoch, which is then as if it had not begun. At
    the end, the best epoch's weights and then result.json are written, and the checkpoints are
    removed; so they are when the trial diverges, as it would again, after error.json is written.
    Closed before, it leaves the checkpoints to be gone on from. `test` asks for the scores of the
    best weights on the test images, and for their predictions for validation and test to be stored;
    `accumulate` that batches are cut into as many pieces, because they do not fit into memory at
    once. A trial that was stopped and is not tested has no metrics beyond its records'.

    Raises:
        what `fit` does, and OSError where the directory cannot be written.
    """
    config = run.config()
    give_way(run, attempt, world)
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    with contextlib.ExitStack() as stack:
        if world.is_main:
            run.write_environment(attempt, environment(world) | {"accumulate": accumulate})
            if changes := uncommitted_changes():
                run.write_changes(attempt, changes)
            run.write_command(command(config, run, world, test, accumulate))
            recorder = stack.enter_context(run.recorder(attempt))
            board = stack.enter_context(contextlib.closing(Board(run)))
        stack.enter_context(concluding_divergence(run, world, attempt))
        splits: tuple[Split, ...] = ("validation", "test") if test else ("validation",)
        fitted = (
            fit_svm(config, run, world, splits, accumulate) if config.classifier == "svm" else None
        )
        stop = StopLook(run)
        epochs = (
            (r for r in [fitted.record])
            if fitted
            else fit(config, run, world, attempt, accumulate, stop)
        )
        records = stack.enter_context(contextlib.closing(epochs))
        for record in records:
            stop.hear(record)
            if world.is_main:
                recorder.write(record)
                board.write(record)
            yield record
            if world.any(world.is_main and run.stop_requested()):
                break
        records.close()
        if fitted:
            predictions, result = fitted.predictions, fitted.result
        elif not test and world.any(world.is_main and run.stop_requested()):
            predictions, result = {}, {}  # somebody waits for what this trial holds
        else:
            best = checkpoint.read(run.checkpoint_path(record["best_epoch"]))["model"]
            predictions, result = score_state(config, run, world, best, splits, accumulate)
        give_way(run, attempt, world)
        if world.is_main:
            result |= {} if fitted else conclude(config, run, record["epoch"])
            for split in splits if test else ():
                predictions[split].write(run.predictions_path(split))
            result |= {"attempt": attempt} | ({"accumulate": accumulate} if accumulate > 1 else {})
            board.conclude(config, result)
            run.write_result(result)
            run.remove_checkpoints()


def command(config: TrainConfig, run: Run, world: World, test: bool, accumulate: int = 1) -> str:
    """Return the shell command that repeats the trial with as many processes, on the same data."""
    root = os.environ.get("FIELDTRIAL_DATA")
    data = [f"FIELDTRIAL_DATA={shlex.quote(root)}"] if root else []
    launcher = (
        ["torchrun", "--nproc-per-node", str(world.size), "--"] if world.size > 1 else ["python"]
    )
    parts = ["--accumulate", str(accumulate)] if accumulate > 1 else []
    flags = [*(["--test"] if test else []), *parts, *config.to_flags()]
    return " ".join(
        [*data, shlex.join([*launcher, "jobs/train.py", "--run", str(run.path), *flags])]
    )


@contextlib.contextmanager
def concluding_divergence(run: Run, world: World, attempt: int) -> Iterator[None]:
    """Write error.json and remove the checkpoints if what is done here diverges."""
    try:
        yield
    except Diverged as error:
        give_way(run, attempt, world)
        if world.is_main:
            run.write_error(
                "diverged", str(error), attempt, "".join(traceback.format_exception(error))
            )
            run.remove_checkpoints()
        raise


def conclude(config: TrainConfig, run: Run, epoch: int) -> dict[str, Any]:
    """Write the best epoch's weights and return what result.json says, from the checkpoint after
    `epoch`, the last.
    """
    state = checkpoint.read(run.checkpoint_path(epoch))
    progress = Progress(**state["progress"])
    reason = progress.end(config)
    best = checkpoint.read(run.checkpoint_path(progress.best_epoch))["model"]
    # copies, because safetensors takes no two names for the same numbers
    weights = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in best.items()
    }
    write_atomically(run.weights_path, safetensors.torch.save(weights))
    return {
        "outcome": "finished" if reason else "stopped",
        "reason": reason or "stop file",
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "validation_accuracy": progress.best_accuracy,
        "validation_loss": progress.best_loss,
        **state["facts"],
        "minutes": progress.seconds / 60,
        "peak_memory_mb": state["record"]["peak_memory_mb"],
    }
