"""Trials of two processes on a real SLURM that run out of memory, or hang."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.interface import Ended
from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.snapshot import take_snapshot
from fieldtrial.control.running import hung as watch
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.sweep import Sweep
from tests.slurm_cluster import SlurmCluster

FAULTY = (str(Path(__file__).parents[2].joinpath("faulty_worker.py")),)

pytestmark = pytest.mark.slow


@pytest.fixture
def place(slurm: SlurmCluster, tmp_path: Path) -> Iterator[SlurmPlace]:
    assert slurm
    folder = SweepFolder(tmp_path / "sweep")
    settings = SlurmSettings(
        partitions=("gpu",),
        gpus_per_trial=0,
        processes_per_trial=2,
        cpus_per_process=1,
        time_limit_minutes=5,
        most_jobs=1,
        squeue_seconds=0.5,
        environment={"HUNG": str(tmp_path / "hung")},
    )
    place = SlurmPlace(
        settings, folder, Submitter(settings, folder, take_snapshot(folder.code_path), FAULTY)
    )
    yield place
    place.close()


def run(folder: Path, place: SlurmPlace, **fields: object) -> Engine:
    """Run a row's only trial to its end."""
    base = TrainConfig.from_dict({"model": "mlp", "dense_width": [16], "epochs": 3, **fields})
    sweep = Sweep(base=base, rows=[{"optimizer": "sgd"}], search={}, trials=1, seeds=0)
    engine = Engine(sweep, SweepFolder(folder / "sweep"), place)
    engine.run()
    return engine


def test_batches_are_cut_when_one_process_runs_out_of_memory(
    place: SlurmPlace, tmp_path: Path
) -> None:
    engine = run(tmp_path, place, seed=8)
    (trial,) = engine.trials()
    assert (trial.status, trial.attempt, trial.accumulate, trial.deaths) == ("done", 2, 2, 0)
    assert (engine.folder.run(trial.name).result() or {})["accumulate"] == 2


@pytest.mark.chaos
def test_a_trial_that_hangs_is_dumped_and_goes_on(
    place: SlurmPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        watch, "HUNG_SECONDS", 20.0
    )  # more than a cold start's first step takes on a busy machine
    engine = run(tmp_path, place, seed=7)
    (trial,) = engine.trials()
    own = engine.folder.run(trial.name)
    assert (trial.status, trial.attempt, trial.problem) == ("done", 2, None)
    assert [record["attempt"] for record in own.records()] == [1, 2, 2, 2]
    first, second = (own.log_path(1, rank).read_text() for rank in (0, 1))
    assert "in train_or_hang" in first + second
    assert "in main" in first
    assert "in main" in second


def test_processes_that_slurm_told_to_end_have_not_died(
    slurm: SlurmCluster, place: SlurmPlace, processes: Any, tmp_path: Path
) -> None:
    config = TrainConfig(model="mlp", dense_width=(16,), epochs=500)
    task = Task(str(Run.create(tmp_path / "sweep" / config.id, config).path), 1)
    ends: list[Ended] = []

    def has_ended() -> bool:
        ends.extend(place.wait(0.1))
        return bool(ends)

    place.start(task)
    assert processes.eventually(lambda: has_ended() or len(task.open_run().records()) > 2, 60)
    (job,) = place.queue.claimed().values()
    slurm.run(
        "scancel", "--signal=TERM", job
    )  # to srun's processes alone, as at the start of a preemption's grace
    assert processes.eventually(has_ended, 30)
    assert [(end.cause, end.error) for end in ends] == [("interruption", None)]
    assert task.open_run().error() is None
    assert place.queue.terminations(job) == 2
    assert (
        slurm.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")
        == "FAILED"
    )
