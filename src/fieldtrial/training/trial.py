"""One attempt at a trial, with all the files that it leaves in the run's directory."""

import contextlib
import shlex
from collections.abc import Generator
from typing import Any

import safetensors.torch
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.run import Record, Run, write_atomically
from fieldtrial.training import checkpoint
from fieldtrial.training.environment import environment
from fieldtrial.training.epoch import evaluate
from fieldtrial.training.fit import Progress, fit, open_trial
from fieldtrial.training.tensorboard import Board
from fieldtrial.training.world import World


def train(run: Run, world: World, attempt: int, test: bool = False) -> Generator[Record]:
    """Train the trial of `run` from where it is, yield its records, and write everything into its directory.

    A stop file ends it after the epoch. At the end, the best epoch's weights and then result.json are written, and
    the checkpoints are removed. Closed before, it leaves the checkpoints to be gone on from. `test` asks for the
    scores of the best weights on the test images.

    Raises:
        what `fit` does, and OSError where the directory cannot be written.
    """
    config = run.config()
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    with contextlib.ExitStack() as stack:
        if world.is_main:
            run.write_environment(attempt, environment(world))
            run.write_command(shlex.join(["python", "jobs/train.py", "--run", str(run.path), *config.to_flags()]))
            recorder = stack.enter_context(run.recorder(attempt))
            board = stack.enter_context(contextlib.closing(Board(run)))
        records = stack.enter_context(contextlib.closing(fit(config, run, world)))
        for record in records:
            if world.is_main:
                recorder.write(record)
                board.write(record)
            yield record
            if world.any(world.is_main and run.stop_requested()):
                break
        records.close()
        test_scores = evaluate_best(config, run, world, record["best_epoch"]) if test else {}
        if world.is_main:
            result = conclude(config, run, record["epoch"]) | test_scores | {"attempt": attempt}
            board.conclude(config, result)
            run.write_result(result)
            run.remove_checkpoints()


def evaluate_best(config: TrainConfig, run: Run, world: World, best_epoch: int) -> dict[str, float]:
    """Return how well the best epoch's weights do on the test images, to all processes."""
    data, network = open_trial(config, run)
    network.load_state_dict(checkpoint.read(run.checkpoint_path(best_epoch))["model"])
    scores = evaluate(network.to(world.device), data, data.test, config.batch_size, world)
    return {"test_accuracy": scores.accuracy, "test_loss": scores.loss}


def conclude(config: TrainConfig, run: Run, epoch: int) -> dict[str, Any]:
    """Write the best epoch's weights and return what result.json says, from the checkpoint after `epoch`, the last."""
    state = checkpoint.read(run.checkpoint_path(epoch))
    progress = Progress(**state["progress"])
    reason = progress.end(config)
    best = checkpoint.read(run.checkpoint_path(progress.best_epoch))["model"]
    # copies, because safetensors takes no two names for the same numbers
    weights = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in best.items()}
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
