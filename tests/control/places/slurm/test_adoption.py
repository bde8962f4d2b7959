"""A restarted driver on a real SLURM: what it adopts, and what it cancels. The worker sleeps."""

import time
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.control.places.slurm.place import SlurmPlace
from fieldtrial.control.places.slurm.polling import Poll, job_name
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import TaskQueue
from tests.control.slurm_places import (
    PROGRAM,
    STAND_IN,
    Make,
    all_is_well,
    job_of,
    task,
    until,
    until_the_end,
)
from tests.slurm_cluster import SlurmCluster


def test_a_driver_that_comes_back_takes_over_and_clears_up(
    slurm: SlurmCluster, make_place: Make, tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=0.2, most_jobs=3)
    tasks = [task(tmp_path, number, epochs) for number, epochs in enumerate((3, 20, 2000))]
    for one in tasks:
        place.start(one)
    until(place, lambda: all(one.open_run().records() for one in tasks))
    job = place.queue.claimed()[tasks[2].name]
    place.close(detach=True)
    while not tasks[0].open_run().result():
        time.sleep(0.1)
    unknown = task(tmp_path, 9)
    place.queue.put(unknown)
    back = make_place(epoch_seconds=0.2, most_jobs=3)
    never = task(tmp_path, 7)
    assert {one.trial for one in back.adopt([*tasks[:2], never])} == {
        one.trial for one in tasks[:2]
    }
    ended = until_the_end(back, 2)
    assert all_is_well(ended)
    assert {end.task for end in ended} == set(tasks[:2])
    assert back.queue.waiting() == set()
    assert not unknown.open_run().records()
    slurm.wait(job, "CANCELLED")
    assert len(tasks[2].open_run().records()) < 2000, "nobody asked for it any more"


def test_a_requeued_job_does_not_go_on_with_what_another_has_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Job("7_0", "COMPLETING", "n1", "None", job_name(SweepFolder(tmp_path / "sweep")))
    for name, answer in {"my_jobs": [ending], "submit_limit": None, "largest_array": 10}.items():
        monkeypatch.setattr(slurm_commands, name, lambda *_, answer=answer: answer)
    settings, folder = SlurmSettings(), SweepFolder(tmp_path / "sweep")
    place = SlurmPlace(settings, folder, Submitter(settings, folder, PROGRAM, STAND_IN))
    interrupted = task(tmp_path)
    place.queue.put(interrupted)
    place.queue.register("7_0", {})
    assert place.queue.claim("7_0")
    assert place.adopt([interrupted]) == []
    assert place.queue.claim("7_0") is None, "it was preempted, and starts again"
    place.close(detach=True)


def test_jobs_of_a_changed_place_take_nothing_more(make_place: Make, tmp_path: Path) -> None:
    old = make_place(epoch_seconds=0.2, most_jobs=1, trials_per_job=9)
    first, second, third = (
        task(tmp_path, number, epochs) for number, epochs in enumerate((500, 5, 5))
    )
    for one in (first, second):
        old.start(one)
    until(old, lambda: first.open_run().records())
    job = job_of(old)
    old.close(detach=True)
    new = make_place(epoch_seconds=0.2, most_jobs=2, trials_per_job=9, memory_gb_per_process=0.2)
    assert set(new.adopt([first, second])) == {first, second}
    new.start(third)
    first.open_run().request_stop()
    assert all_is_well(until_the_end(new, 3))
    answers = {
        answer.task: answer.worker
        for answer in TaskQueue(new.queue.folder).answers()
        if answer.task
    }
    assert answers[first.name] == job
    assert job not in (answers[second.name], answers[third.name])


def test_jobs_that_a_planted_file_names_are_never_cancelled(
    make_place: Make, processes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = list[str]()
    monkeypatch.setattr(slurm_commands, "cancel", cancelled.extend)
    monkeypatch.setattr("fieldtrial.control.places.slurm.cancelling.STOP_SECONDS", 0.0)
    place, first = make_place(), task(tmp_path)
    place._update(Poll([Job("7_0", "RUNNING", "n1", "", place._submitter.name)]))
    place.queue.register("7_0", {})
    place.start(first)
    assert place.queue.claim("7_0") == first
    workers = tmp_path / "sweep" / "queue" / "workers"
    for job in ("98", "99_1", "zz"):  # other jobs of the user, in a folder that somebody has sent
        (workers / job).mkdir()
        (workers / job / first.name).write_text("{}")
    place.kill(first)
    place.stop(first)
    place._cancel(place._cancelling.overdue(place._active()))
    assert processes.eventually(lambda: cancelled == ["7_0", "7_0"])
    assert place.adopt([first]) == [first]
    assert place.queue.claimed() == {first.name: "7_0"}
    place._jobs = {}
