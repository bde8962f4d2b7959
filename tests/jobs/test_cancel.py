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
