"""What is submitted, and what jobs have printed, where either cannot be had."""

import shutil
import stat
from pathlib import Path

import pytest

from fieldtrial.control.places.settings import SlurmSettings
from fieldtrial.control.places.slurm import commands as slurm_commands
from fieldtrial.control.places.slurm.commands import SlurmOutageError
from fieldtrial.control.places.slurm.sbatch import Submitter
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.slurm_places import PROGRAM


def submitter(tmp_path: Path) -> Submitter:
    return Submitter(SlurmSettings(), SweepFolder(tmp_path), PROGRAM)


def test_where_there_is_no_slurm_there_is_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmOutageError, match="srun: no such command: this machine has no SLURM"):
        submitter(tmp_path).script()


def test_where_slurm_writes_logs_only_the_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def submit(_: str) -> str:
        modes.append(stat.S_IMODE((tmp_path / "jobs").stat().st_mode))
        return "7"

    monkeypatch.setattr(slurm_commands, "submit", submit)
    monkeypatch.setattr(shutil, "which", str)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(0o777)  # as a stranger has prepared it
    assert submitter(tmp_path).submit(2) == ["7_0", "7_1"]
    assert modes == [0o755]


def test_a_log_explains_as_far_as_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = Path(SweepFolder(tmp_path).jobs_path)
    logs.mkdir(parents=True)
    (logs / "7_0_0_log.err").mkdir()  # what cannot be read
    (logs / "7_0_0_log.out").write_text(
        "first\n" * 100 + "slurmstepd: error: Detected 1 oom_kill event\nlast\n"
    )
    told = submitter(tmp_path)
    assert told.last_lines("7_0").endswith(
        "\n    slurmstepd: error: Detected 1 oom_kill event\n    last"
    )
    assert told.ran_out_of_memory("7_0")
    assert not told.ran_out_of_memory("8_0")
    monkeypatch.setattr("fieldtrial.disk.files.LAST_BYTES", 8)
    assert told.last_lines("7_0") == "\n    nt\n    last"
