"""What a trial costs the driver of a sweep, in CPU time, as sweeps grow; the driver's memory, and
how long it takes to restart.

python benchmarks/driver.py [--trials 300,1000,10000,30000] [--repeats 5] [--quick] [--folder DIR]

A sweep of rows of 50 trials (two searched fields, three epochs, early stopping, two final runs)
runs on a place in virtual time with 16 slots, whose trials take half a second. Nothing waits. The
engine is that of every sweep. The CPU time of the place, which writes the workers' files, is
subtracted. After half of the trials the engine is dropped, and another goes on from the folder; the
time up to its first start is measured. Each sweep has a process of its own. The sizes take turns.
Writes benchmarks/results/driver.json, but not with --quick.
"""

import argparse
import contextlib
import gc
import heapq
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from machine import spread, write_result
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Ended
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.sweep import Sweep

SLOTS = 16
EPOCHS = 3
EPOCH_SECONDS = 0.12  # on average
TRIALS_PER_ROW = 50
SEEDS = 2
SEARCH = {"lr": tune.loguniform(1e-4, 1e-1), "momentum": tune.uniform(0.0, 0.99)}


class Half(BaseException):
    """Half of the trials have ended."""


class VirtualPlace:
    """Workers in virtual time: `wait` makes the next of their steps at once.

    cpu: seconds of CPU time that the place itself has used.
    """

    slots = SLOTS
    processes = together = 1
    backlog = None

    def __init__(self) -> None:
        self.cpu = 0.0
        self._now, self._chance = 0.0, random.Random(0)
        self._steps: list[tuple[float, int, Task, int]] = []  # when, number, task, epoch
        self._count = 0

    def clock(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        """Return no tasks: workers end with their driver."""
        return []

    def start(self, task: Task) -> None:
        """Start a task."""
        self._plan(task, 0)

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:  # noqa: ARG002
        """Make the steps of so many seconds, or up to the first task that ends."""
        with self._own_time():
            until, ended = self._now + seconds, list[Ended]()
            while not ended and self._steps and self._steps[0][0] <= until:
                self._now, _, task, epoch = heapq.heappop(self._steps)
                ended = self._step(task, epoch)
            if not ended:
                self._now = until
        return ended

    def stop(self, task: Task) -> None:
        """Let the stop file be found."""

    def dump(self, _task: Task) -> bool:
        """Return that there is no program to look into."""
        return False

    def kill(self, task: Task) -> None:
        """Let it run on."""

    def close(self, detach: bool = False) -> None:
        """Do nothing."""

    def _plan(self, task: Task, epoch: int) -> None:
        self._count += 1
        due = self._now + EPOCH_SECONDS * self._chance.uniform(0.5, 1.5)
        heapq.heappush(self._steps, (due, self._count, task, epoch))

    def _step(self, task: Task, epoch: int) -> list[Ended]:
        run = task.open_run()
        accuracy = 0.9 - 0.5 ** (epoch + 1) * self._chance.random()
        scores = {"validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
        scores |= {"best_epoch": epoch}
        with run.recorder(task.attempt) as recorder:
            recorder.write({"epoch": epoch, "seconds": EPOCH_SECONDS, **scores})
        stopped = run.stop_requested()
        if epoch < EPOCHS and not stopped:
            self._plan(task, epoch + 1)
            return []
        outcome = {"outcome": "stopped" if stopped else "finished", "epochs": epoch}
        run.write_result({**outcome, "minutes": 0.01, "attempt": task.attempt, **scores})
        return [Ended(task)]

    @contextlib.contextmanager
    def _own_time(self) -> Iterator[None]:
        start = time.process_time()
        yield
        self.cpu += time.process_time() - start


def simulate(trials: int, path: Path) -> dict[str, float]:
    """Return the figures of a sweep in the folder `path`."""
    rows = [{"batch_size": 8 + number} for number in range(max(1, trials // TRIALS_PER_ROW))]
    sweep = Sweep(
        base=TrainConfig(epochs=EPOCHS, optimizer="sgd"),
        rows=rows,
        search=SEARCH,
        trials=TRIALS_PER_ROW - SEEDS,
        seeds=SEEDS,
    )
    folder, ends, half = SweepFolder(path), 0, trials // 2
    started = list[float]()  # when the first trial was started, in CPU time

    def hear(event: str, _trial: Trial) -> None:
        nonlocal ends
        if event == "started" and not started:
            started.append(time.process_time())
        ends += event in ("done", "failed")
        if event == "done" and ends == half:
            raise Half

    place, begin = VirtualPlace(), time.process_time()
    folder.make_room(len(rows) * sweep.runs_per_row)
    folder.write_description(sweep.describe(folder.name))
    with contextlib.suppress(Half):
        Engine(sweep, folder, place, hear, clock=place.clock).run()
    used = time.process_time() - begin - place.cpu
    gc.collect()  # a killed process leaves nothing either
    restart = time.process_time()
    started.clear()
    place = VirtualPlace()
    engine = Engine(sweep, folder, place, hear, clock=place.clock)
    engine.repair()
    engine.run()
    used += time.process_time() - restart - place.cpu
    assert engine.count() == (len(rows) * TRIALS_PER_ROW,) * 2, engine.count()
    return {
        "cpu_ms_per_trial": 1000 * used / (len(rows) * TRIALS_PER_ROW),
        "restart_cpu_seconds": started[0] - restart,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "state_mb": folder.state_path.stat().st_size / 2**20,
        "most_in_a_folder": max(len(list(one.iterdir())) for one in folders(path)),
    }


def folders(path: Path) -> Iterator[Path]:
    """Yield a folder and the folders in it that are no run's."""
    yield path
    for one in path.iterdir():
        if one.is_dir() and not Run(one).exists():
            yield from folders(one)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", default="300,1000,10000,30000")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="300 and 1,000 trials, once")
    parser.add_argument("--folder", type=Path, help="where the sweeps' folders are made")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory(dir=options.folder) as path:
            print(json.dumps(simulate(options.one, Path(path) / "sweep")))
        return
    sizes = [300, 1000] if options.quick else [int(size) for size in options.trials.split(",")]
    measured: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in range(1 if options.quick else options.repeats):
        for size in sizes:
            command = [sys.executable, __file__, "--one", str(size)]
            command += ["--folder", str(options.folder)] if options.folder else []
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured[size].append(json.loads(done.stdout))
            print(size, measured[size][-1], flush=True)
    figures: dict[str, Any] = {
        f"{size} trials": {name: spread([run[name] for run in runs]) for name in runs[0]}
        for size, runs in measured.items()
    }
    if not options.quick:
        write_result(
            "driver", {"what": " ".join(__doc__.split("\n\n")[0].split()), "figures": figures}
        )


if __name__ == "__main__":
    main()
