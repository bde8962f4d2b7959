"""One run by hand, as jobs/train.py and slurm/finetune.sh start it: what a sweep's engine and
worker do for a trial.
"""

import contextlib
import math
import os
import sys
import time
from typing import Any, NoReturn

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.processes import started
from fieldtrial.training.attempt.preflight import look_at
from fieldtrial.training.attempt.train import train
from fieldtrial.training.attempt.worker import kind_of, tell
from fieldtrial.training.distributed.world import World
from fieldtrial.training.scoring.evaluation import evaluate_run

WOULD_FAIL_AGAIN = ("config", "diverged")  # kinds of errors


def prepare_by_hand(config: TrainConfig, run: Run, accumulate: int = 1) -> None:
    """Make the run's directory and its data ready, without training: the first of several processes
    need not fail.

    How many there will be is said as torchrun says it to each: by WORLD_SIZE and, for this machine,
    LOCAL_WORLD_SIZE.

    Raises:
        ConfigError: the run is another config's; a batch has no `accumulate` parts; there is no
            such data set, model, layer to freeze or file of weights; a batch is too small for the
            processes. The directory is as it was.
        ValueError: there are too many processes for this machine.
        OSError: the directory cannot be written.
    """
    require_parts(config, accumulate)
    world = World.described()
    if run.exists():
        run.require(config)
    accumulate = min(most_parts(config, world), max(accumulate, parts_needed(run)))
    if not run.result() and (
        problems := look_at(config, run, world=world, accumulate=accumulate)["problems"]
    ):
        raise ConfigError(problems)
    Run.create(run.path, config)


def train_by_hand(config: TrainConfig, run: Run, test: bool = False, accumulate: int = 1) -> None:
    """Train `run` from where it is, or only test it; the first process prints a line an epoch.

    Out of memory, it goes on from its checkpoint with its batches cut into twice as many parts, at
    the same global
    batch: a single process starts itself anew; several end, and torchrun starts them again if
    --max-restarts allows it. Into how many parts an attempt cut them stands in env.json, and the
    next begins with that, or with `accumulate`.
    Processes that torchrun starts again after an error that would come again end at once: it knows
    no such errors.

    Raises:
        ConfigError: the run is another config's; a batch has no `accumulate` parts; one image is
        too much.
        Diverged: in a single process; of several, the first says it and all end.
    """
    require_parts(config, accumulate)
    world = World.from_environment()
    if kind := world.broadcast(what_would_come_again(run)):
        ended = (
            f"attempt {max(run.attempts(), default=0)} ended with what would come again ({kind})"
        )
        end_together(world, f"{run.path}: not trained again: {ended}")
    say = print if world.is_main else lambda *_, **__: None
    attempt = world.broadcast(max(run.attempts(), default=0) + 1)
    if world.is_main:
        Run.create(run.path, config)
    accumulate = world.broadcast(min(most_parts(config, world), max(accumulate, parts_needed(run))))
    result = world.broadcast(run.result())
    if not result:
        try:
            for record in train(run, world, attempt, test, accumulate):
                say(describe(record), flush=True)
        except Exception as error:
            kind = kind_of(error)
            if kind in ("memory", "config"):
                tell(run, kind, str(error), error, attempt)
            if kind == "diverged" and world.size > 1:
                end_together(world, str(error))
            if kind != "memory":
                raise
            go_on_in_parts(accumulate, most_parts(config, world), world)
    elif test and "test_accuracy" not in result:
        evaluate_run(run, world)
    else:
        say(f"{run.path} is finished: nothing to do")
    say(f"end: {describe(run.result() or {})}")
    world.close()


def require_parts(config: TrainConfig, accumulate: int) -> None:
    """Raise ConfigError unless a batch can be cut into `accumulate` parts."""
    if not 1 <= accumulate <= config.batch_size:
        raise ConfigError(
            [f"accumulate = {accumulate}: must be from 1 to batch_size = {config.batch_size}"]
        )


def most_parts(config: TrainConfig, world: World) -> int:
    """Return into how many parts a batch can be cut: each process cuts its own share."""
    return math.ceil(config.batch_size / world.size)


def parts_needed(run: Run) -> int:
    """Return into how many parts the run's batches are to be cut, going by its last attempt."""
    attempt = max(run.attempts(), default=0)
    used: int = run.environment().get(str(attempt), {}).get("accumulate", 1)
    return 2 * used if last_error(run) == "memory" else used


def last_error(run: Run) -> str | None:
    """Return the kind of the error that the run's last attempt ended with, or None."""
    error = run.error() or {}
    return error["kind"] if error.get("attempt") == max(run.attempts(), default=0) else None


def what_would_come_again(run: Run) -> str | None:
    """Return the kind of the error because of which torchrun starts these processes again in vain,
    or None.
    """
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if not restarted or (kind := last_error(run)) not in WOULD_FAIL_AGAIN:
        return None
    error = run.error() or {}
    return (
        kind if error["time"] > launched_at() else None
    )  # what an earlier launch met may have been mended


def launched_at() -> float:
    """Return the time at which torchrun, this process's parent, was started, to a tick of the clock
    and never early.
    """
    ticks = started(os.getppid()) or 0  # torchrun is gone: whatever there is came after it
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + (ticks + 1) / os.sysconf("SC_CLK_TCK")


def end_together(world: World, why: str) -> NoReturn:
    """End all processes when the first has said `why`, after it has written it: with one, torchrun
    ends all at once.
    """
    if world.is_main:
        print(why, file=sys.stderr, flush=True)
    with contextlib.suppress(RuntimeError):  # another has died
        world.any(False)
    sys.exit(1)


def go_on_in_parts(accumulate: int, most: int, world: World) -> NoReturn:
    """Have the run started again, after its batches in `accumulate` parts, of `most`, were too much
    for a device.
    """
    if accumulate >= most:
        raise ConfigError(
            [
                f"out of memory, though its batches are cut into {accumulate} parts: one image is"
                " too much"
            ]
        )
    print(
        f"out of memory: goes on with its batches cut into {min(2 * accumulate, most)} parts",
        flush=True,
    )
    if world.size > 1:
        os._exit(1)  # the other processes wait for this one in vain
    os.execv(sys.executable, sys.orig_argv)


def describe(values: dict[str, Any]) -> str:
    """Return the epoch, losses and accuracies among `values` for people."""
    shown = [
        name
        for name in values
        if name in ("epoch", "best_epoch") or name.endswith(("_loss", "_accuracy"))
    ]
    return "  ".join(f"{name.replace('_', ' ')} {values[name]:.4g}" for name in shown)
