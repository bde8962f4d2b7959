"""How busy a sweep keeps SLURM's slots: wall time over the ideal, with trials that sleep instead of
training.

python benchmarks/orchestration.py [--repeats 3] [--folder DIR]   (SLURM_CONF names the cluster:
cluster/devslurm/up.sh)

Eight slots of one GPU each, epochs of half a second, with a job for each trial and with warm
workers: 48 trials of 20 epochs; 48 trials of 5, 10, 20 and 40 epochs in turn; and one row of 48
trials with early stopping. The ideal is the training of all epochs, spread over the slots without a
gap; greedy gives the next trial to the first free slot, at no cost. After the decision: seconds
from the record that had a trial stopped to its result, as a share of all training.
Then 1000 trials at once, simulated by one process that writes a record of each every ten seconds:
what they cost the driver. Writes benchmarks/results/orchestration.json.
"""

import argparse
import heapq
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from machine import spread, write_result
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Ended
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.snapshot import take_snapshot
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.sweep import Sweep, grid

STAND_IN = (str(Path(__file__).resolve().parent / "stand_in_worker.py"),)
SLOTS, TRIALS, EPOCHS, EPOCH_SECONDS = 8, 48, 20, 0.5
UNEQUAL_EPOCHS = (5, 10, 20, 40)
WAYS = {"a job for each trial": 1, "warm workers": 50}
SIMULATED, RECORD_SECONDS, SIMULATED_EPOCHS = 1000, 10.0, 6

Figures = dict[str, float]


def equal() -> Sweep:
    """Return 48 trials of 20 epochs."""
    return Sweep(
        base=TrainConfig(epochs=EPOCHS), rows=grid(batch_size=range(1, TRIALS + 1)), seeds=0
    )


def unequal() -> Sweep:
    """Return 48 trials of 5, 10, 20 and 40 epochs in turn."""
    rows = [
        {"batch_size": i + 1, "epochs": UNEQUAL_EPOCHS[i % len(UNEQUAL_EPOCHS)]}
        for i in range(TRIALS)
    ]
    return Sweep(base=TrainConfig(), rows=rows, seeds=0)


def stopping() -> Sweep:
    """Return one row of 48 trials with early stopping."""
    search = {"lr": tune.loguniform(1e-4, 1.0), "weight_decay": tune.uniform(0.0, 0.1)}
    return Sweep(
        base=TrainConfig(epochs=EPOCHS),
        rows=[{"model": "mlp"}],
        search=search,
        trials=TRIALS,
        seeds=0,
    )


def greedy(epochs: Sequence[int]) -> float:
    """Return the seconds of a schedule that gives the next trial to the first free slot, at no
    cost.
    """
    slots = [0.0] * SLOTS
    for count in epochs:
        heapq.heappush(slots, heapq.heappop(slots) + count * EPOCH_SECONDS)
    return max(slots)


def count_commands() -> Counter[str]:
    """Return how often this process has started which command; it counts on."""
    counts: Counter[str] = Counter()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            counts[Path(arguments[1][0]).name] += 1

    sys.addaudithook(note)
    return counts


def measure(sweep: Sweep, trials_per_job: int, root: Path, commands: Counter[str]) -> Figures:
    """Run the sweep on the cluster; return its wall time over the ideal, and what it cost the
    driver and SLURM.
    """
    settings = SlurmSettings(
        partitions=("gpu",),
        gpus_per_node=2,
        cpus_per_process=1,
        memory_gb_per_process=0.25,
        most_jobs=SLOTS,
        squeue_seconds=1,
        trials_per_job=trials_per_job,
        environment={"EPOCH_SECONDS": str(EPOCH_SECONDS)},
    )
    with tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as path:
        folder = SweepFolder(path)
        place = SlurmPlace(
            settings, folder, Submitter(settings, folder, take_snapshot(folder.code_path), STAND_IN)
        )
        engine = Engine(sweep, folder, place)
        commands.clear()
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        engine.run()
        seconds = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        calls = {
            f"{name}_calls": commands[name] for name in ("sbatch", "squeue", "sacct", "scancel")
        }
        place.close()
        trials = list(engine.trials())
        run = [
            max(record["epoch"] for record in folder.run(trial.name).records()) for trial in trials
        ]
        wasted = sum(
            e - t.stopped_at for e, t in zip(run, trials, strict=True) if t.stopped_at is not None
        )
        late = sum(seconds_after_the_decision(folder.run(trial.name), trial) for trial in trials)
        time.sleep(2)  # for the jobs to be gone before their folder is
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_over_ideal": seconds * SLOTS / (sum(run) * EPOCH_SECONDS),
        "wall_over_greedy": seconds / greedy(run),
        "epochs_after_the_decision": wasted / sum(run),
        "after_the_decision": late / (sum(run) * EPOCH_SECONDS + late),
        "driver_cpu": used / seconds,
        **calls,
    }


def seconds_after_the_decision(run: Run, trial: Trial) -> float:
    """Return how long a trial went on after the record that had it stopped; 0 for the others."""
    if trial.stopped_at is None:
        return 0.0
    decided = next(
        record["time"] for record in run.records() if record["epoch"] == trial.stopped_at
    )
    return float((run.path / "result.json").stat().st_mtime - decided)


class SimulatedPlace:
    """A thousand slots, whose trials are records that one process writes."""

    slots = SIMULATED
    processes = together = 1

    def __init__(self) -> None:
        self.backlog = None
        self._tasks: dict[str, Task] = {}
        self._writer: subprocess.Popen[str] | None = None

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        """Return no tasks."""
        return []

    def start(self, task: Task) -> None:
        """Have the writer, started with the last trial, write this one's records."""
        self._tasks[task.run] = task
        if len(self._tasks) == SIMULATED:
            command = [sys.executable, __file__, "--write", *self._tasks]
            self._writer = subprocess.Popen(command, text=True)

    def stop(self, _task: Task) -> None:
        """Let it run on."""

    def dump(self, _task: Task) -> bool:
        """Return that there is no program to look into."""
        return False

    def kill(self, _task: Task) -> None:
        """Let it run on."""

    def wait(self, seconds: float, more: int = 0) -> list[Ended]:  # noqa: ARG002
        """Wait; all end together with the writer."""
        time.sleep(seconds)
        if self._writer is None or self._writer.poll() is None:
            return []
        ended = [Ended(task) for task in self._tasks.values()]
        self._tasks = {}
        return ended

    def close(self, detach: bool = False) -> None:
        """Do nothing."""


def write(paths: Sequence[str]) -> None:
    """Write the records and results of the simulated trials."""
    for epoch in range(SIMULATED_EPOCHS + 1):
        start = time.monotonic()
        for path in paths:
            with Run(path).recorder(1) as recorder:
                scores = {"validation_accuracy": 0.5, "validation_loss": 1.0, "best_epoch": epoch}
                recorder.write({"epoch": epoch, "seconds": RECORD_SECONDS, **scores})
        time.sleep(max(0.0, RECORD_SECONDS - (time.monotonic() - start)))
    for path in paths:
        Run(path).write_result(
            {"outcome": "finished", "validation_accuracy": 0.5, "validation_loss": 1.0}
        )


def simulate() -> Figures:
    """Return the driver's share of a core and its memory, in GB, with a thousand trials at once."""
    rows = grid(batch_size=range(1, SIMULATED + 1))
    sweep = Sweep(base=TrainConfig(epochs=SIMULATED_EPOCHS), rows=rows, seeds=0)
    with tempfile.TemporaryDirectory() as path:
        engine = Engine(sweep, SweepFolder(path), SimulatedPlace())
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        engine.run()
        seconds = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        delivered = sum(trial.last_epoch == SIMULATED_EPOCHS for trial in engine.trials())
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "driver_cpu": used / seconds,
        "driver_gb": after.ru_maxrss / 2**20,
        "delivered": delivered,
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=Path.cwd(), help="where the sweeps' folders are made"
    )
    parser.add_argument("--write", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write)
        return
    cases = {"equal": equal, "unequal": unequal, "early stopping": stopping}
    figures: dict[str, Any] = {}
    slurm = subprocess.run(
        ["sinfo", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    commands = count_commands()
    for name, case in cases.items():
        for way, trials_per_job in WAYS.items():
            runs = [
                measure(case(), trials_per_job, options.folder, commands)
                for _ in range(options.repeats)
            ]
            figures[f"{name}, {way}"] = {key: spread([run[key] for run in runs]) for key in runs[0]}
            print(name, way, figures[f"{name}, {way}"], flush=True)
    figures[f"{SIMULATED} trials at once"] = simulate()
    write_result(
        "orchestration", {"what": __doc__.splitlines()[0], "slurm": slurm, "figures": figures}
    )


if __name__ == "__main__":
    main()
