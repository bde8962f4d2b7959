"""Common parts of the tests of whole drivers over a real SLURM."""

import csv
from pathlib import Path
from typing import Any

import psutil

from fieldtrial.disk.files import RecordReader
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue
from tests.slurm_cluster import SlurmCluster

SITE: dict[str, object] = {
    "kind": "slurm",
    "partitions": ["gpu"],
    "gpus_per_node": 2,
    "cpus_per_process": 1,
    "memory_gb_per_process": 0.1,
    "time_limit_minutes": 5,
    "squeue_seconds": 0.5,
    "idle_seconds": 10,
}
TIMED = ("minutes", "device_hours", "search_device_hours", "search_epochs")
MEASURED = ("images_per_second", "data_wait", "energy_kwh", "utilization")  # where there are any
SHORT = ("--trials", "1", "--seeds", "0")  # a trial in each row, for what takes long


def jobs(slurm: SlurmCluster) -> list[str]:
    """Return the ids of the jobs in the queue."""
    return slurm.run("squeue", "--noheader", "--array", "--format=%i").split()


def runs(folder: SweepFolder) -> list[Any]:
    """Return the runs of all trials."""
    return [folder.run(path.parent.name) for path in folder.path.glob("*/config.json")]


def trains(folder: SweepFolder, count: int = 1) -> bool:
    """Return whether that many trials are training."""
    return sum(bool(run.attempts()) and not run.result() for run in runs(folder)) >= count


def record_count(folder: SweepFolder) -> int:
    """Return how many epochs have been recorded."""
    return sum(len(run.records()) for run in runs(folder))


def answered_by(folder: SweepFolder) -> dict[str, str]:
    """Return the job that answered last for each trial."""
    answers = TaskQueue(folder.queue_path).answers()
    return {answer.task.partition("-")[0]: answer.worker for answer in answers if answer.task}


def table(driver: Any) -> list[dict[str, str]]:
    """Return the table without times, and without how far trials went before they saw the stop."""
    rows = list(csv.DictReader(driver.table().splitlines()))
    assert all(row.pop(name) for row in rows for name in TIMED)
    return without_measured(rows)


def without_measured(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows without what depends on the machine and on what else it does."""
    return [{name: row[name] for name in row if name not in MEASURED} for row in rows]


def assert_each_epoch_was_trained_once(folder: SweepFolder) -> None:
    """No record is lost, none is there twice."""
    assert runs(folder)
    for run in runs(folder):
        epochs = [record["epoch"] for record in RecordReader(run).read()]
        assert epochs == list(range(len(epochs))), run


def assert_nothing_is_left(slurm: SlurmCluster, processes: Any, folder: SweepFolder) -> None:
    """No job is in the queue, and no worker of the sweep is alive."""
    assert processes.eventually(lambda: not jobs(slurm)), slurm.run("squeue")
    assert processes.eventually(lambda: not workers(folder)), workers(folder)


def assert_undisturbed(slurm: SlurmCluster, driver: Any, processes: Any, undisturbed: Any) -> None:
    """The sweep has the same trials and the same table; nothing is repeated, nothing is left."""
    assert driver.trials() == undisturbed.trials()
    assert table(driver) == table(undisturbed)
    assert_each_epoch_was_trained_once(driver.folder())
    assert_nothing_is_left(slurm, processes, driver.folder())


def workers(folder: SweepFolder) -> list[list[str]]:
    """Return the command lines of the processes that work for the sweep."""
    mark = str(Path(folder.queue_path).resolve())
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(mark in word for word in line)]
