"""What the tests of SLURM as a place share: tasks for it, and waiting for what becomes of them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldtrial.config import TrainConfig
from fieldtrial.control.places.interface import Ended
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.snapshot import Snapshot
from fieldtrial.control.places.slurm.verified import digest_of, read_sources
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task

ROOT = Path(__file__).parents[2]
STAND_IN = (str(ROOT / "benchmarks" / "stand_in_worker.py"),)

PROGRAM = Snapshot(ROOT / "src", digest_of(read_sources(str(ROOT / "src"))))

Make = Callable[
    ..., SlurmPlace
]  # what the fixture make_place gives: place_of, without its first two arguments


def place_of(
    folder: Path,
    say: Callable[[str], None],
    epoch_seconds: float = 0.05,
    worker: tuple[str, ...] = STAND_IN,
    **settings: Any,
) -> SlurmPlace:
    """Return SLURM_CONF's cluster as a place with these settings, for a sweep in `folder`."""
    asked: dict[str, Any] = {
        "partitions": ("gpu",),
        "gpus_per_node": 2,
        "cpus_per_process": 1,
        "memory_gb_per_process": 0.1,
        "time_limit_minutes": 5,
        "squeue_seconds": 0.5,
        "idle_seconds": 5,
        "environment": {"EPOCH_SECONDS": str(epoch_seconds)},
    }
    wanted, sweep = SlurmSettings(**asked | settings), SweepFolder(folder / "sweep")
    return SlurmPlace(wanted, sweep, Submitter(wanted, sweep, PROGRAM, worker), say)


def task(folder: Path, number: int = 0, epochs: int = 1, attempt: int = 1) -> Task:
    config = TrainConfig(epochs=epochs, lr=0.01 + number / 1000)
    return Task(str(Run.create(folder / "sweep" / config.id, config).path), attempt)


def until_the_end(place: SlurmPlace, count: int = 1, seconds: float = 120) -> list[Ended]:
    ended: list[Ended] = []
    give_up = time.monotonic() + seconds
    while len(ended) < count and time.monotonic() < give_up:
        ended += place.wait(0.1)
    assert len(ended) == count
    return ended


def until(place: SlurmPlace, holds: Callable[[], object], seconds: float = 90) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        ended = place.wait(0.05)
        assert ended == [], ended


def job_of(place: SlurmPlace) -> str:
    (job,) = place.queue.claimed().values()
    return job


def all_is_well(ended: list[Ended]) -> bool:
    return all(
        end.death is None and end.error is None and end.task.open_run().result() for end in ended
    )
