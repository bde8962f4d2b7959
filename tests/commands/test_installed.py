"""The wheel in an environment of its own: everything is in it, and a new project runs."""

import csv
import json
import zipfile
from pathlib import Path

import pytest

from tests.wheel import ROOT, run

SOURCES = ROOT / "src" / "fieldtrial"


def commands(readme: Path) -> list[list[str]]:
    """Return the words of each line of the first block of commands in a README."""
    block = readme.read_text().split("```")[1]
    return [line.partition("#")[0].split() for line in block.strip().splitlines()]


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    """Templates, places, and the mark that the package has types."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("fieldtrial/")}
    files = (path for path in SOURCES.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert packed == {f"fieldtrial/{path.relative_to(SOURCES)}" for path in files}


@pytest.mark.slow
def test_what_the_readme_of_a_new_project_says_is_true(installed: Path, tmp_path: Path) -> None:
    program = installed / "fieldtrial"
    made = run(program, "new", "here", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    project = tmp_path / "here"
    said = made.stdout.splitlines()
    assert said[-2:] == ["cd here", "fieldtrial run sweeps/first.py --smoke"]
    written = {str(path.relative_to(tmp_path)) for path in project.rglob("*") if path.is_file()}
    assert written == set(said[:-2])

    dry, smoke, _, table, _, listing = commands(project / "README.md")
    assert dry[-1] == "--dry-run"  # test_extras.py has one
    outcome = run(installed / smoke[0], *smoke[1:], cwd=project)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert table == ["fieldtrial", "table", "runs/first"]
    outcome = run(program, "table", "runs/first-smoke", "--format", "csv", cwd=project)
    rows = list(csv.DictReader(outcome.stdout.splitlines()))
    assert [(row["model"], row["optimizer"], row["n"]) for row in rows] == [
        (model, optimizer, "1") for model in ("cnn", "mlp") for optimizer in ("sgd", "adamw")
    ]
    assert run(installed / listing[0], *listing[1:], cwd=project).returncode == 0

    resuming = json.loads((project / "runs" / "first-smoke" / "command.json").read_text())
    assert resuming["words"] == [str(program), *smoke[1:]]
