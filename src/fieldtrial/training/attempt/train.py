"""One attempt at a trial, with all the files that it leaves in the run directory."""

import contextlib
import os
import shlex
import traceback
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import safetensors.torch
import torch

from fieldtrial.disk.device_time import Spent, device_time
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.run import Record
from fieldtrial.fields.choices import Classifier
from fieldtrial.training.attempt.environment import environment, uncommitted_changes
from fieldtrial.training.attempt.stop_poll import StopPoll
from fieldtrial.training.attempt.tensorboard import Board
from fieldtrial.training.distributed.energy import EnergyMeter
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt, Split, Superseded
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import fit
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.scoring.evaluation import score_state
from fieldtrial.training.svm.classifier import Fitted, fit_svm
from fieldtrial.training.tasks.interface import ScoredSplit

LAUNCHER = "fieldtrial.training.distributed.launcher"
Scored = tuple[Mapping[Split, ScoredSplit], dict[str, Any]]  # answers, and their metrics


@dataclass(eq=False)
class NetworkTrial:
    """A network that is trained."""

    attempt: Attempt

    def records(self) -> Generator[Record]:
        """Train; yield one record per epoch. See `fit`."""
        return fit(self.attempt)

    def score(self, record: Record, /) -> Scored:
        """Return, to all processes, the answers of the best epoch's weights, and their metrics.

        There are none for a stopped trial that is not tested: its device is wanted for another
        trial. `record` is the last one.
        """
        attempt, run = self.attempt, self.attempt.run
        if not attempt.test and attempt.world.any(attempt.world.is_rank_0 and run.stop_requested()):
            return {}, {}
        best = checkpoint.read(run.checkpoint_path(record["best_epoch"]))
        return score_state(attempt, best["model"])

    def conclude(self, record: Record, /) -> dict[str, Any]:
        """Write the best epoch's weights; return result.json's entries about the training."""
        run = self.attempt.run
        state = checkpoint.read(run.checkpoint_path(record["epoch"]))
        progress = TrialProgress.of(state["progress"])
        reason = progress.end(self.attempt.config)
        best = checkpoint.read(run.checkpoint_path(progress.best_epoch))["model"]
        # Copies, because safetensors takes no two names for the same numbers.
        weights = {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in best.items()
        }
        write_atomically(run.weights_path, safetensors.torch.save(weights))
        return {
            "outcome": "finished" if reason else "stopped",
            "reason": reason or "stop file",
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            **{f"validation_{name}": value for name, value in sorted(progress.best.items())},
            **state["facts"],
            "epoch_minutes": progress.seconds / 60,
            "peak_memory_mb": state["record"]["peak_memory_mb"],
        }


class SvmTrial:
    """A support vector machine: fitted in one go, with one record and no weights to keep."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._fitted: Fitted | None = None

    def records(self) -> Generator[Record]:
        """Fit; yield the one record."""
        self._fitted = fit_svm(self._attempt)
        yield self._fitted.record

    def score(self, _: Record, /) -> Scored:
        """Return the answers and their metrics, to rank 0."""
        assert self._fitted
        return self._fitted.scored, self._fitted.metrics

    def conclude(self, _: Record, /) -> dict[str, Any]:
        """Return result.json's entries about the fit."""
        assert self._fitted
        return self._fitted.facts


TRIALS: dict[Classifier, type[NetworkTrial] | type[SvmTrial]] = {
    "softmax": NetworkTrial,
    "svm": SvmTrial,
}


def train(attempt: Attempt) -> Generator[Record]:
    """Train the trial from where it is, yield its records, and write everything into its directory.

    A stop file ends the trial, also in the middle of an epoch, which then counts as not begun. At
    the end, the best epoch's weights and then result.json are written, and the checkpoints are
    removed. If the trial diverges, error.json is written and the checkpoints are removed: another
    attempt would diverge again. Closed before its end, the generator leaves the checkpoints to
    continue from.

    With attempt.test, the best weights are scored on the test split as well, and the predictions
    for both splits are stored. A trial that was stopped and is not tested has no metrics beyond its
    records'.

    Raises:
        what `fit` does, and OSError where the directory cannot be written.
    """
    run, world = attempt.run, attempt.world
    attempt.require_newest()
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    with contextlib.ExitStack() as stack:
        meter = stack.enter_context(EnergyMeter(world))
        if world.is_rank_0:
            describe_start(attempt)
            recorder = stack.enter_context(run.recorder(attempt.number))
            board = stack.enter_context(contextlib.closing(Board(run)))
        stack.enter_context(concluding_divergence(attempt))
        stack.enter_context(noting_cost(attempt, meter))
        attempt = replace(attempt, stop=StopPoll(run))
        trial = TRIALS[attempt.config.classifier](attempt)
        records = stack.enter_context(contextlib.closing(trial.records()))
        for record in records:
            record |= meter.entries()
            if world.is_rank_0:
                recorder.write(record)
                board.write(record)
            yield record
            if world.any(world.is_rank_0 and run.stop_requested()):
                break
        records.close()
        scored, metrics = trial.score(record)
        attempt.require_newest()
        joules = meter.joules()
        if world.is_rank_0:
            result = {**metrics, **trial.conclude(record), "attempt": attempt.number}
            result |= {"accumulate": attempt.accumulation} if attempt.accumulation > 1 else {}
            result |= cost(attempt, joules, meter.shared)
            for split in attempt.splits if attempt.test else ():
                scored[split].write(run.predictions_path(split))
            board.conclude(attempt.config, result)
            run.write_result(result)
            run.remove_checkpoints()


def cost(attempt: Attempt, joules: float | None, shared: bool) -> dict[str, float | bool]:
    """Return result.json's entries about the devices that the trial has held until now.

    minutes: of all attempts together. device_hours: the same, of each process. minutes_alone: what
    the trial takes alone, from nothing and without a restart, if that is known.
    features_device_hours: of them, for features that this attempt computed for itself and others.
    energy_kwh: of all attempts' devices, if it is known of each. energy_shared: whether others used
    these devices, too, whose energy is in it.

    joules: the energy of this attempt's devices; None: unknown. shared: whether others use them.
    """
    clock, world = attempt.clock, attempt.world
    newest = Spent(attempt.number, clock.held, joules, shared)
    held = device_time(attempt.run, newest=newest)
    assert held
    features = clock.features * world.size / 3600
    return replace(held, alone=clock.alone).entries() | (
        {"features_device_hours": features} if features else {}
    )


@contextlib.contextmanager
def noting_cost(attempt: Attempt, meter: EnergyMeter) -> Iterator[None]:
    """Write into env.json what the attempt has cost, if it ends without a result.

    Of several processes the energy until the last record is known. A newer attempt writes that file
    itself.
    """
    try:
        yield
    except Superseded:
        raise
    except BaseException:
        if attempt.world.is_rank_0:
            with contextlib.suppress(OSError, ValueError):
                run, number = attempt.run, attempt.number
                told = {"held_seconds": attempt.clock.held}
                told |= meter.entries() if attempt.world.size == 1 else {}
                facts = run.environment().get(str(number), {}) | told
                run.write_environment(
                    number, facts | ({"energy_shared": True} if meter.shared else {})
                )
        raise


def describe_start(attempt: Attempt) -> None:
    """Write the attempt's machine and code, and the command that repeats the trial."""
    facts = environment(attempt.world) | {"accumulate": attempt.accumulation}
    attempt.run.write_environment(attempt.number, facts)
    if changes := uncommitted_changes():
        attempt.run.write_changes(attempt.number, changes)
    attempt.run.write_command(command(attempt))


def command(attempt: Attempt) -> str:
    """Return the shell command that repeats the trial, in a directory beside it.

    It starts as many processes, on several nodes as a job. It takes the data that are there when it
    is given, and cuts them by content: `inputs.json` beside it says what this trial had.
    """
    root, size = os.environ.get("FIELDTRIAL_DATA"), attempt.world.size
    on_node = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    data = [f"FIELDTRIAL_DATA={shlex.quote(root)}"] if root else []
    several = ["-m", LAUNCHER, "--processes", str(size)] if size > 1 else []
    begin = ["python", *several, "jobs/train.py"]
    if on_node < size:
        gpus = ["--gpus-per-node", str(on_node)]
        begin = ["sbatch", "--nodes", str(size // on_node), *gpus, "slurm/finetune.sh"]
    words = [*begin, "--run", f"{attempt.run.path}-again"]
    words += ["--test"] if attempt.test else []
    words += ["--accumulate", str(attempt.accumulation)] if attempt.accumulation > 1 else []
    return " ".join([*data, shlex.join([*words, *attempt.config.to_flags()])])


@contextlib.contextmanager
def concluding_divergence(attempt: Attempt) -> Iterator[None]:
    """Write error.json and remove the checkpoints if what is done here diverges."""
    try:
        yield
    except Diverged as error:
        attempt.require_newest()
        if attempt.world.is_rank_0:
            details = "".join(traceback.format_exception(error))
            attempt.run.write_error("diverged", str(error), attempt.number, details)
            attempt.run.remove_checkpoints()
        raise
