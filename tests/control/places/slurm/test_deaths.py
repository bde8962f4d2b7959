"""Jobs of a real SLURM that die: who notices, and who is to blame. The worker sleeps."""

import os
import subprocess
from pathlib import Path

import pytest

from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm import place as slurm_module
from fieldtrial.control.places.slurm.commands import Job
from fieldtrial.control.places.slurm.polling import job_name
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.slurm_places import (
    STAND_IN,
    Make,
    all_is_well,
    job_of,
    place_of,
    task,
    until,
    until_the_end,
)
from tests.slurm_cluster import SlurmCluster, temporary_cluster


def test_a_trial_of_several_processes_that_is_killed_has_died(
    make_place: Make, tmp_path: Path
) -> None:
    place = make_place(epoch_seconds=0.5, gpus_per_trial=2)
    first = task(tmp_path, epochs=200)
    place.start(first)
    until(place, first.open_run().records)
    place.kill(first)
    (end,) = until_the_end(place)
    assert end.cause == "death"
    assert place._submissions.node_failures == {}


def test_without_accounting_deaths_are_noticed(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with temporary_cluster("--nodes", "1", "--no-accounting") as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        place = place_of(tmp_path, said.append, 0.2, gpus_per_trial=0, most_jobs=2)
        first, second = task(tmp_path, 0, epochs=50), task(tmp_path, 1, epochs=5)
        place.start(first)
        until(place, lambda: len(first.open_run().records()) > 1)
        job = job_of(place)
        place.start(second)
        subprocess.run(["scancel", job], check=True)
        ended = until_the_end(place, 2)
        deaths = {end.task: end.death for end in ended}
        assert deaths == {first: f"its job {job} is gone (CANCELLED, on n1)", second: None}
        place.close()


def test_a_worker_that_does_not_come_up_is_lost_and_another_takes_its_trial(
    slurm: SlurmCluster,
    make_place: Make,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = f"[ -e {tmp_path}/stuck ] || {{ touch {tmp_path}/stuck; sleep 600; }}"
    place = make_place(setup=(once,))
    first = task(tmp_path)
    place.start(first)
    with monkeypatch.context() as patch:
        patch.setattr(slurm_module, "START_SECONDS", 1.0)
        until(place, lambda: said)
    job = said[0].split()[1]
    assert said == [f"job {job} has not started its worker for 1 s on n1: it is cancelled"]
    assert all_is_well(until_the_end(place))
    assert first.open_run().attempts() == [1]
    assert place._submissions.node_failures == {"n1": 1}
    slurm.wait(job, "CANCELLED")


@pytest.mark.parametrize(
    ("state", "printed", "blamed"),
    [
        ("OUT_OF_MEMORY", "", False),
        (
            "FAILED",
            (
                "slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=7.0. Some of your"
                " processes"
            ),
            False,
        ),
        ("FAILED", "srun: error: n1: task 1: Out Of Memory", False),
        (
            "FAILED",
            (
                "slurmstepd-n1: error: StepId=7.batch exceeded memory limit (2048 > 1024), being"
                " killed"
            ),
            False,
        ),
        ("FAILED", "Traceback: there is no memory of it", True),
        ("NODE_FAIL", "", True),
    ],
)
def test_a_node_is_blamed_for_a_job_that_died_but_not_for_want_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, printed: str, blamed: bool
) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    looks = [[Job("7_0", "RUNNING", "n1", "None", job_name(folder))], []]
    answers = {"submit_limit": None, "largest_array": 10, "final_states": {"7_0": (state, "n1")}}
    for name, answer in answers.items():
        monkeypatch.setattr(slurm_commands, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(slurm_commands, "my_jobs", lambda *_: looks.pop(0))
    place = place_of(tmp_path, print)
    first = task(tmp_path)
    place.start(first)
    place.queue.register("7_0", {})
    assert place.queue.claim("7_0")
    write_atomically(folder.jobs_path / "7_0_0_log.err", f"{printed}\n".encode())
    (end,) = until_the_end(place)
    assert (end.task, (end.death or "").partition(" (")[0]) == (first, "its job 7_0 is gone")
    assert place._submissions.node_failures == ({"n1": 1} if blamed else {})
    place.close(detach=True)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_trial_that_takes_too_much_memory_is_to_blame_and_its_node_is_not(
    said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if not os.access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", os.W_OK):
        pytest.skip(
            "needs cgroups of version 1 that count swap: by them SLURM limits a job's memory"
        )
    lines = [
        "import runpy",
        "from fieldtrial.disk.run import Run",
        "recorder = Run.recorder",
        "def take_too_much_at_first(run, attempt):",
        (
            "    return recorder(run, len(b'x' * (400 << 20)) and attempt) if attempt == 1 else"
            " recorder(run, attempt)"
        ),
        "Run.recorder = take_too_much_at_first",
        f"runpy.run_path({STAND_IN[0]!r}, run_name='__main__')",
    ]
    worker = tmp_path / "worker.py"
    worker.write_text("\n".join(lines))
    with temporary_cluster("--nodes", "1", "--no-accounting", "--enforce-memory") as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        asked = {"gpus_per_trial": 0, "processes_per_trial": processes}
        place = place_of(tmp_path, said.append, 0.05, (str(worker),), **asked)
        for number in range(2):  # as many as would have a node left out
            place.start(task(tmp_path, number))
            (end,) = until_the_end(place)
            assert end.cause == "death"
            assert "is gone (OUT_OF_MEMORY, on n1)" in (end.death or "")
        assert place._submissions.node_failures == {}
        place.start(task(tmp_path, attempt=2))
        assert all_is_well(until_the_end(place))
        assert said == []
        place.close()
