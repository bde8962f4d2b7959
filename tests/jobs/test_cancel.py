"""jobs/cancel.py where it cannot do anything."""

from pathlib import Path

import pytest

from tests.job_commands import Job


def test_a_machine_without_slurm_is_said_in_a_line(
    command: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "sweep.json").write_text('{"of": "another version"}')
    monkeypatch.setenv("PATH", str(tmp_path))
    done = command("cancel.py", tmp_path / "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: squeue: no such command: this machine has no SLURM\n"


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
