"""jobs/cancel.py where it cannot do anything."""

import os
from pathlib import Path

import pytest

from fieldtrial.disk.task_queue import Task, TaskQueue
from tests.job_commands import Job
from tests.needs import need_root


def test_a_machine_without_slurm_is_said_in_a_line(
    command: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "sweep.json").write_text('{"of": "another version"}')
    monkeypatch.setenv("PATH", str(tmp_path))
    done = command("cancel.py", tmp_path / "x")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no jobs to cancel: it has never had a SLURM job\n"
    (tmp_path / "x" / "jobs").mkdir()
    done = command("cancel.py", tmp_path / "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: squeue: no such command: this machine has no SLURM\n"


def test_another_users_sweep_is_left_as_it_is(
    command: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM shows and ends one's own jobs only: that there are none says nothing of the owner's."""
    need_root("gives a folder to another user")
    queue = TaskQueue(tmp_path / "x" / "queue")
    queue.open()
    queue.register("1_0", {})
    queue.put(Task(str(tmp_path / "x" / "3fa91b2c"), 1))
    assert queue.claim("1_0")
    queue.put(Task(str(tmp_path / "x" / "1b2c3fa9"), 1))
    (tmp_path / "x" / "sweep.json").write_text("{}")
    (tmp_path / "bin").mkdir()
    for name in ("squeue", "scancel"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    os.chown(tmp_path / "x", 65534, -1)
    before = sorted(path.name for path in (tmp_path / "x").rglob("*"))
    done = command("cancel.py", tmp_path / "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"error: {tmp_path / 'x'}: belongs to nobody, and only nobody can"
    )
    assert sorted(path.name for path in (tmp_path / "x").rglob("*")) == before


def test_a_folder_that_is_no_sweep(job: Job, tmp_path: Path) -> None:
    done = job("cancel.py", tmp_path / "nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "nothing/sweep.json: no such file" in done.stderr


@pytest.mark.parametrize("place", ["tasks-x", "workers/1_0"])
def test_a_link_in_a_strangers_queue_removes_nothing_elsewhere(
    command: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder in (mine, theirs / "queue" / "workers", tmp_path / "bin"):
        folder.mkdir(parents=True)
    (mine / "config.json").write_text("{}")
    (theirs / "sweep.json").write_text("{}")
    (theirs / "queue" / place).symlink_to(mine)
    for name in ("squeue", "scancel"):  # no job, and none to cancel
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    done = command("cancel.py", theirs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {theirs / 'queue' / place}: is a link")
    assert [path.name for path in mine.iterdir()] == ["config.json"]
