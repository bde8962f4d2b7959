"""One attempt at a trial, with all the files that it leaves in the run directory."""

import contextlib
import os
import shlex
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from fieldtrial.disk.device_time import Spent, device_time
from fieldtrial.disk.run import Record
from fieldtrial.fields.choices import Classifier
from fieldtrial.training.attempt.environment import environment, uncommitted_changes
from fieldtrial.training.attempt.stop_poll import StopPoll
from fieldtrial.training.attempt.tensorboard import Board
from fieldtrial.training.distributed.energy import EnergyMeter
from fieldtrial.training.inputs.code import require_code_of_sweep, take_new_code
from fieldtrial.training.loop.attempt import Attempt, Split, Superseded
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Fit
from fieldtrial.training.models.weights import write_state
from fieldtrial.training.scoring.evaluation import score_splits, score_state
from fieldtrial.training.svm.classifier import Fitted, fit_svm
from fieldtrial.training.tasks.interface import ScoredSplit

LAUNCHER = "fieldtrial.training.distributed.launcher"
Scored = tuple[Mapping[Split, ScoredSplit], dict[str, Any]]  # answers, and their metrics


class NetworkTrial:
    """A network that is trained."""

    def __init__(self, attempt: Attempt, fit: Callable[[Attempt], Fit] = Fit) -> None:
        self._attempt = attempt
        self._fit = fit(attempt)
        self._best: dict[str, torch.Tensor] = {}

    def records(self) -> Generator[Record]:
        """Train; yield one record per epoch. See `Fit`."""
        return self._fit.records()

    def stop(self) -> None:
        """Note that the trial ends here."""
        self._fit.is_over = True

    def score(self) -> Scored:
        """Return, to all processes, the answers of the best epoch's weights, and their metrics.

        There are none for a stopped trial that is not tested: its device is wanted for another
        trial.
        """
        attempt, fit = self._attempt, self._fit
        self._best = fit.best()
        if not attempt.test and attempt.world.any(
            attempt.world.is_rank_0 and attempt.run.stop_requested()
        ):
            return {}, {}
        if fit.is_partitioned:
            return score_state(attempt, self._best)
        fit.load_best(self._best)
        return score_splits(attempt, fit.network, fit.data)

    def conclude(self, record: Record, /) -> dict[str, Any]:
        """Write the best epoch's weights; return result.json's entries about the training.

        `record` is the last one.
        """
        fit, progress = self._fit, self._fit.progress
        reason = progress.end(self._attempt.config)
        write_state(self._attempt.run.weights_path, fit.whole(self._best))
        return {
            "outcome": "finished" if reason else "stopped",
            "reason": reason or "stop file",
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            **{f"validation_{name}": value for name, value in sorted(progress.best.items())},
            **fit.facts,
            "epoch_minutes": progress.seconds / 60,
            "peak_memory_mb": record["peak_memory_mb"],
        }


class SvmTrial:
    """A support vector machine: fitted in one go, with one record and no weights to keep."""

    def __init__(self, attempt: Attempt, _fit: object) -> None:
        self._attempt = attempt
        self._fitted: Fitted | None = None

    def records(self) -> Generator[Record]:
        """Fit; yield the one record."""
        self._fitted = fit_svm(self._attempt)
        yield self._fitted.record

    def stop(self) -> None:
        """Note that the trial ends here."""

    def score(self) -> Scored:
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


def train(attempt: Attempt, fit: Callable[[Attempt], Fit] = Fit) -> Generator[Record]:
    """Train the trial from where it is, yield its records, and write everything into its directory.

    A stop file ends the trial, also in the middle of an epoch, which then counts as not begun. What
    an earlier attempt has recorded is repeated first where its checkpoint is older: somebody may
    have decided by those records. At the end, the best epoch's weights and then result.json are
    written, and the checkpoints are removed. If the trial diverges, error.json is written and the
    checkpoints are removed: another attempt would diverge again. Closed before its end, the
    generator leaves the checkpoints to continue from.

    fit: makes what trains a network.

    With attempt.test, the best weights are scored on the test split as well, and the predictions
    for both splits are stored. A trial that was stopped and is not tested has no metrics beyond its
    records'.

    Raises:
        what `Fit.records` does, and OSError where the directory cannot be written.
    """
    run, world = attempt.run, attempt.world
    attempt.require_newest()
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    take_new_code(run, attempt.config, attempt.number, world)
    known, reached = last_epoch_before(attempt), -1
    with contextlib.ExitStack() as stack:
        group = attempt.clock if attempt.together > 1 else None
        meter = stack.enter_context(EnergyMeter(world, clock=group))
        if world.is_rank_0:
            describe_start(attempt)
            recorder = stack.enter_context(run.recorder(attempt.number))
            board = stack.enter_context(contextlib.closing(Board(run, attempt.config)))
        stack.enter_context(concluding_divergence(attempt))
        stack.enter_context(noting_cost(attempt, meter))
        stop = StopPoll(run)
        attempt = replace(attempt, stop=lambda: reached >= known and stop())
        trial = TRIALS[attempt.config.classifier](attempt, fit)
        records = stack.enter_context(contextlib.closing(trial.records()))
        for record in records:
            reached = record["epoch"]
            record |= meter.entries()
            if world.is_rank_0:
                recorder.write(record)
                board.write(record)
            yield record
            if reached >= known and world.any(world.is_rank_0 and run.stop_requested()):
                trial.stop()
                break
        records.close()
        attempt.require_newest()  # or the best weights may not have been written
        scored, metrics = trial.score()
        attempt.require_newest()
        joules = meter.joules()
        if world.is_rank_0:
            require_code_of_sweep(run, attempt.config)
            result = {**metrics, **trial.conclude(record), "attempt": attempt.number}
            result |= {"accumulate": attempt.accumulation} if attempt.accumulation > 1 else {}
            result |= cost(attempt, joules, meter.shared)
            for split in attempt.splits if attempt.test else ():
                scored[split].write(run.predictions_path(split))
            board.conclude(result)
            run.write_result(result)
            run.remove_checkpoints()


def last_epoch_before(attempt: Attempt) -> int:
    """Return, to all processes, the last epoch that earlier attempts have recorded; -1 without."""
    records = attempt.run.records() if attempt.world.is_rank_0 and attempt.number > 1 else []
    return attempt.world.broadcast(max((one["epoch"] for one in records), default=-1))


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
    facts |= {"together": attempt.together} if attempt.together > 1 else {}
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
    several = ["-m", LAUNCHER, "--processes", str(size), "-m"]
    begin = [*(["python", *several] if size > 1 else []), "fieldtrial", "train"]
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
