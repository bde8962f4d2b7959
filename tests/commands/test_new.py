"""fieldtrial new: what it writes, and what it refuses to overwrite."""

import subprocess
from pathlib import Path

import pytest

from fieldtrial.commands.new.create import BATCH, batch_file, create, main, project_files
from fieldtrial.control.places.settings import SlurmSettings, read_settings

ROOT = Path(__file__).parents[2]


def test_a_folder_with_such_files_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "first.py").write_text("mine")
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    assert main([str(tmp_path)]) == 2
    rule = "fieldtrial new overwrites nothing, and has written nothing"
    said = f"error: {tmp_path}: has README.md, sweeps/first.py; {rule}\n"
    assert capsys.readouterr().err == said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.read_text() for path in files} == {"mine"}


def test_a_folder_with_other_files_becomes_a_project(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main([str(tmp_path)]) == 0
    assert isinstance(read_settings("slurm", tmp_path / "cluster"), SlurmSettings)
    assert "runs/" in (tmp_path / ".gitignore").read_text().split()


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "slurm").write_text("a file where a folder must be")
    with pytest.raises(OSError, match="slurm"):
        create(tmp_path, project_files("python"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "slurm"]


@pytest.mark.parametrize("name", BATCH)
def test_the_batch_files_of_a_project_are_those_of_the_checkout(name: str) -> None:
    """But for the Python, and for the command that trains, which the checkout has in jobs/."""
    assert batch_file(name, ".venv/bin/python", "jobs/train.py") == (ROOT / name).read_text()
    text = batch_file(name, "/a folder/it's/$HOME/python", "-m fieldtrial train")
    assert "@" not in text.replace("USR1@120", "").replace('"$@"', "")
    line = next(line for line in text.splitlines() if line.startswith("set -uo pipefail"))
    script = f'unset PYTHON; {line.partition("; trap")[0]}; printf %s "$PYTHON"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "/a folder/it's/$HOME/python"
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
