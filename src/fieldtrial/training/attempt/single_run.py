"""One run without a sweep, as fieldtrial train and slurm/finetune.sh start it."""

import contextlib
import math
import os
import shutil
import sys
import time
from typing import Any, NoReturn

from fieldtrial.command_line import BAD_INPUT, BAD_RESULT, say
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.fields.scores import number_with_unit
from fieldtrial.fields.switches import require_switches
from fieldtrial.fields.task_metrics import CHOOSING, metric_words
from fieldtrial.own.errors import OwnCodeError
from fieldtrial.processes import replace_self, started
from fieldtrial.training.attempt.failures import kind_of, tell
from fieldtrial.training.attempt.memory import keep_freed_memory
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.scoring.evaluation import evaluate_run

CHOOSE = tuple(f"_{name}" for names in CHOOSING.values() for name in names)
WOULD_FAIL_AGAIN = ("config", "diverged")  # kinds of errors


def prepare_run(config: TrainConfig, run: Run, accumulation: int = 1) -> None:
    """Make the run directory and its data ready, without training, for the processes to come.

    Their number is read from WORLD_SIZE and, for this machine, LOCAL_WORLD_SIZE.

    Raises:
        ValueError: an environment variable has a value that is none of its choices.
        ConfigError: the run has another config, or `accumulation` is not from 1 to the batch size;
            there is no such data set, model, layer to freeze or file of weights; a batch is too
            small for the processes. The directory is left as it was.
        ValueError: there are too many processes for this machine.
        OSError: the directory cannot be written.
    """
    require_accumulation(config, accumulation)
    world = World.described()
    if run.exists():
        run.require(config)
    accumulation = next_accumulation(config, run, world, accumulation)
    attempt = Attempt(run, config, world, accumulation=accumulation)
    if not run.result() and (problems := check(attempt)["problems"]):
        raise ConfigError(problems)
    Run.create(run.path, config)


def train_run(config: TrainConfig, run: Run, test: bool = False, accumulation: int = 1) -> None:
    """Train `run` from where it is, or only test it; rank 0 prints a line per epoch.

    Out of memory, training continues from the checkpoint with twice the gradient accumulation
    steps, at the same global batch size. A single process restarts itself; several end, and their
    launcher starts them again if --restarts (torchrun's: --max-restarts) allows it. env.json holds
    each attempt's number of steps; the next attempt begins with that, or with `accumulation` if it
    is larger. A launcher may also start processes again after an error that would come again; they
    then end at once.

    Raises:
        ConfigError: the run has another config, or `accumulation` is not from 1 to the batch size;
            or a single image does not fit into memory. What a single process has refused before the
            first record leaves no directory behind.
        Diverged: in a single process. Of several, rank 0 prints the message and all end.
    """
    require_accumulation(config, accumulation)
    require_switches()
    keep_freed_memory()
    world = World.from_environment()
    is_free = world.size == 1 and not run.folder.names()
    if kind := world.broadcast(recurring_error(run)):
        failed = f"attempt {run.newest_attempt} ended with an error that would recur"
        end_together(world, f"{run.path}: not trained again: {failed} ({kind})", BAD_INPUT)
    number = world.broadcast(run.newest_attempt + 1)
    if world.is_rank_0:
        Run.create(run.path, config)
    accumulation = world.broadcast(next_accumulation(config, run, world, accumulation))
    clock = DeviceClock.of_process()
    attempt = Attempt(run, config, world, number, accumulation, test, clock=clock)
    result = world.broadcast(run.result())
    if not result:
        try:
            for record in train(attempt):
                print_on_rank_0(world, progress_line(record))
        except Exception as error:
            if is_free and kind_of(error) == "config" and not run.records():
                # a command that is refused leaves nothing behind
                shutil.rmtree(run.path, ignore_errors=True)
                raise
            handle(error, attempt)
    elif test and "test_loss" not in result:
        evaluate_run(run, world)
    else:
        print_on_rank_0(world, f"{run.path} is finished: nothing to do")
    print_on_rank_0(world, f"end: {progress_line(run.result() or {})}")
    world.close()


def print_on_rank_0(world: World, line: str) -> None:
    """Print the line once, whatever the number of processes."""
    if world.is_rank_0:
        say(line)


def require_accumulation(config: TrainConfig, accumulation: int) -> None:
    """Raise ConfigError unless a batch can be split into `accumulation` micro-batches."""
    if not 1 <= accumulation <= config.batch_size:
        raise ConfigError(
            [f"accumulate = {accumulation}: must be from 1 to batch_size = {config.batch_size}"]
        )


def most_accumulation(config: TrainConfig, world: World) -> int:
    """Return the most gradient accumulation steps there can be: micro-batches of one image."""
    return math.ceil(config.batch_size / world.size)


def next_accumulation(config: TrainConfig, run: Run, world: World, least: int) -> int:
    """Return the next attempt's gradient accumulation steps: `least`, or more.

    They are at least the last attempt's, and twice as many after it ran out of memory.
    """
    last = str(run.newest_attempt)
    used: int = run.environment().get(last, {}).get("accumulate", 1)
    needed = 2 * used if last_error(run) == "memory" else used
    return min(most_accumulation(config, world), max(least, needed))


def last_error(run: Run) -> str | None:
    """Return the kind of the error that the run's last attempt ended with, or None."""
    error = run.error() or {}
    return error["kind"] if error.get("attempt") == run.newest_attempt else None


def recurring_error(run: Run) -> str | None:
    """Return the kind of the error after which the processes were restarted in vain, or None."""
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if not restarted or (kind := last_error(run)) not in WOULD_FAIL_AGAIN:
        return None
    # The cause of an earlier launch's error may have been removed since.
    return kind if (run.error() or {})["time"] > launched_at() else None


def launched_at() -> float:
    """Return when the processes were first started, in seconds since 1970, and never early.

    The launcher says so. For torchrun, the parent process, it is its own start, to a clock tick.
    """
    if told := os.environ.get("FIELDTRIAL_LAUNCHED"):
        return float(told)
    ticks = started(os.getppid()) or 0  # torchrun is gone: every error counts as later
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + (ticks + 1) / os.sysconf("SC_CLK_TCK")


def handle(error: Exception, attempt: Attempt) -> NoReturn:
    """Write error.json where the attempt has not, then restart, end all processes, or raise."""
    kind = kind_of(error)
    if kind in ("memory", "config") or isinstance(error, OwnCodeError):
        tell(attempt.run, kind, str(error), error, attempt.number)
    if kind == "diverged" and attempt.world.size > 1:
        end_together(attempt.world, str(error), BAD_RESULT)
    if kind == "memory":
        restart_with_smaller_micro_batches(attempt)
    raise error


def end_together(world: World, message: str, status: int) -> NoReturn:
    """End all processes with `status` once rank 0 has printed `message`.

    Their launcher kills the other processes as soon as one ends.
    """
    if world.is_rank_0:
        say(message, sys.stderr)
    with contextlib.suppress(RuntimeError):  # another process has died
        world.any(False)
    sys.exit(status)


def restart_with_smaller_micro_batches(attempt: Attempt) -> NoReturn:
    """Restart the run after running out of memory; `next_accumulation` then doubles the steps."""
    most = most_accumulation(attempt.config, attempt.world)
    if attempt.accumulation >= most:
        raise ConfigError(
            [
                f"out of memory with {attempt.accumulation} gradient accumulation steps: a single"
                " image does not fit"
            ]
        )
    steps = min(2 * attempt.accumulation, most)
    print(f"out of memory: restarting with {steps} gradient accumulation steps", flush=True)
    if attempt.world.size > 1:
        os._exit(1)  # the other processes wait for this one in vain
    replace_self()


def progress_line(values: dict[str, Any]) -> str:
    """Return the epochs, and the scores that may choose one, among `values`, as a line to read."""
    shown = [name for name in values if name in ("epoch", "best_epoch") or name.endswith(CHOOSE)]
    texts = {metric_words(name): number_with_unit(name, values[name]) for name in shown}
    return "  ".join(f"{name} {text}" for name, text in texts.items())
