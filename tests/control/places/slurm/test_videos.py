"""A video in four tasks on a real SLURM, of which two end in the middle."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.batch import drive as driver
from fieldtrial.control.batch.drive import RunTasks, drive_at
from fieldtrial.control.places.interface import Place
from fieldtrial.control.places.settings import Settings, SlurmSettings
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.control.places.slurm.snapshot import take_snapshot
from fieldtrial.disk.task_queue import TaskQueue
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.disk.work.videos import VideosFolder
from tests.control.slurm_sweeps import jobs
from tests.jobs.test_detect import TABLES, prepared
from tests.slurm_cluster import SlurmCluster
from tests.video.traffic import FRAMES, kept_handlers

SLOW = (str(Path(__file__).parents[3] / "video" / "slow_worker.py"),)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_job_is_left")]


def disturb(slurm: SlurmCluster, folder: VideosFolder, go: Path) -> list[str]:
    """Requeue the job of one task and kill another's when both are in the middle; return both."""
    queue = TaskQueue(folder.queue_path)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        claimed = {name.rpartition("-")[0]: job for name, job in queue.claimed().items()}
        begun = [name for name in sorted(claimed) if folder.segment_run(name).parts()]
        if len(begun) >= 2:
            requeued, killed = begun[:2]
            slurm.run("scontrol", "requeue", claimed[requeued])
            slurm.run("scancel", "--full", "--signal=KILL", claimed[killed])
            go.touch()
            return [requeued, killed]
        time.sleep(0.2)
    go.touch()
    return []


def test_a_video_in_four_tasks_of_which_two_end_in_the_middle_counts_as_in_one_process(
    slurm: SlurmCluster, processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    here, there = prepared(tmp_path, "here"), prepared(tmp_path, "there")
    assert here.run_here(lambda: None) == 0

    def open_slow(settings: Settings, folder: WorkFolder) -> Place:
        assert isinstance(settings, SlurmSettings)
        code = take_snapshot(folder.code_path)
        return SlurmPlace(settings, folder, Submitter(settings, folder, code, SLOW))

    monkeypatch.setattr(driver, "open_place", open_slow)
    settings = SlurmSettings(
        partitions=("gpu",),
        gpus_per_trial=0,
        processes_per_trial=2,  # of which a video's task needs one
        cpus_per_process=1,
        time_limit_minutes=5,
        most_jobs=2,
        trials_per_job=8,
        squeue_seconds=0.5,
        environment={"GO": str(go)},
    )
    disturbed = list[str]()
    disturber = threading.Thread(
        target=lambda: disturbed.extend(disturb(slurm, there.folder, go)), daemon=True
    )

    def work(run_tasks: RunTasks) -> int:
        disturber.start()
        return there.run(run_tasks)

    with kept_handlers():
        assert drive_at(there.folder, settings, False, work) == 0
    disturber.join()
    assert len(disturbed) == 2
    assert processes.eventually(lambda: not jobs(slurm)), slurm.run("squeue")
    for name in TABLES:
        assert (there.folder.path / name).read_text() == (here.folder.path / name).read_text()
    found = [folder.path / "detections.parquet" for folder in (here.folder, there.folder)]
    assert found[0].read_bytes() == found[1].read_bytes()
    assert_nothing_was_detected_twice(there.folder, disturbed)


def assert_nothing_was_detected_twice(folder: VideosFolder, disturbed: list[str]) -> None:
    """Each attempt begins behind what the one before has left; at most a batch was lost."""
    total = 0
    for name in folder.tasks("detect"):
        run, done = folder.run(name), 0
        attempts = run.attempts()
        assert len(attempts) == (2 if name in disturbed else 1)
        for attempt in attempts:
            records = [record for record in run.records() if record["attempt"] == attempt] or []
            assert all(record["frames"] >= done for record in records)
            done = max([done, *(record["frames"] for record in records)])
        total += done
        assert len(folder.segment_run(name).parts()) <= done, "no frame has two parts"
    assert total == FRAMES
