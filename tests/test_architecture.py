"""The design's rules, as far as a machine can check them; each check is shown to fail on a planted violation."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("src", "jobs", "sweeps", "benchmarks", "tests", "cluster")
TOP_LEVEL = {"sweeps", "cluster", "jobs", "slurm", "src", "tests", "benchmarks"}
LONGEST = {"src": 350, "sweeps": 40, "jobs": 60, "tests": 350, "slurm": 25}  # lines


def sources(*parts: str) -> Iterator[Path]:
    for part in parts:
        yield from sorted((ROOT / part).rglob("*.py"))


def uses_sys_path(tree: ast.AST) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr == "path" and ast.unparse(node.value) == "sys")
        or (
            isinstance(node, ast.ImportFrom) and node.module == "sys" and "path" in {alias.name for alias in node.names}
        )
        for node in ast.walk(tree)
    )


def lint_imports(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run the import contracts of pyproject.toml on the package in `project`/src."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("control/planted.py", "import torch", "The control half never reaches torch"),
        ("control/planted.py", "import fieldtrial.training.planted", "The control half never reaches torch"),
        ("results/planted.py", "import ray", "Tables are made from files alone"),
        ("training/planted.py", "import ray", "The training half never reaches Ray or Submitit"),
        ("training/planted.py", "def late():\n    import submitit", "The training half never reaches Ray or Submitit"),
        ("insight/planted.py", "import submitit", "Pictures of a model are drawn without Ray or Submitit"),
        ("run.py", "import fieldtrial.results.load", "The config and the run directory stand at the bottom"),
        (
            "control/planted.py",
            "import fieldtrial.results.load",
            "The config and the run directory stand at the bottom",
        ),
    ],
)
def test_a_planted_violation_breaks_the_contract(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / "src" / "fieldtrial", tmp_path / "src" / "fieldtrial")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "src" / "fieldtrial" / "training" / "planted.py").touch()
    with (tmp_path / "src" / "fieldtrial" / module).open("a") as file:
        file.write(f"\n{line}\n")
    outcome = lint_imports(tmp_path)
    assert outcome.returncode != 0
    assert f"{contract} BROKEN" in outcome.stdout, outcome.stdout


@pytest.mark.parametrize(("part", "longest"), LONGEST.items())
def test_files_are_short(part: str, longest: int) -> None:
    paths = [*sources(part), *(ROOT / part).glob("*.sh")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > longest} == {}


def test_no_module_edits_the_import_path() -> None:
    assert uses_sys_path(ast.parse("import sys\nsys.path.append('x')"))
    assert uses_sys_path(ast.parse("from sys import path"))
    assert [str(path) for path in sources(*PARTS) if uses_sys_path(ast.parse(path.read_text()))] == []


def test_packages_have_empty_init_files() -> None:
    packages = {path.parent for path in sources("src")} - {ROOT / "src"}
    assert [str(package) for package in packages if not (package / "__init__.py").exists()] == []
    assert [str(path) for path in sources("src") if path.name == "__init__.py" and path.read_bytes()] == []


def test_what_is_run_is_not_importable() -> None:
    assert [str(path) for path in sources(*PARTS) if path.name == "__init__.py" and "src" not in path.parts] == []


def test_the_top_level_folders_are_the_designed_ones() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    folders = {entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(".")} - ignored
    assert folders <= TOP_LEVEL
    assert {"src", "tests", "jobs"} <= folders


def banned_imports(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run ruff's check for the banned imports of pyproject.toml on `project`."""
    command = [str(Path(sys.executable).with_name("ruff")), "check", "--no-cache", "--select", "TID251", "."]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_heavy_packages_are_imported_where_they_belong() -> None:
    outcome = banned_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("module", "line", "banned"),
    [
        ("src/fieldtrial/training/strategy.py", "import deepspeed", "`deepspeed` is banned"),
        ("src/fieldtrial/training/fit.py", "def late():\n    from deepspeed.runtime import engine", "`deepspeed"),
        ("src/fieldtrial/training/world.py", "import submitit", "`submitit` is banned"),
        ("src/fieldtrial/results/load.py", "import ray", "`ray` is banned"),
        ("jobs/train.py", "from ray import tune", "`ray` is banned"),
        ("src/fieldtrial/training/zero.py", "import deepspeed.comm", None),
        ("src/fieldtrial/control/place.py", "import submitit", None),
        ("sweeps/digits_transfer.py", "from ray import tune", None),
    ],
)
def test_a_planted_import_is_banned_where_it_does_not_belong(
    tmp_path: Path, module: str, line: str, banned: str | None
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / module).parent.mkdir(parents=True)
    (tmp_path / module).write_text(f"{line}\n")
    outcome = banned_imports(tmp_path)
    assert (outcome.returncode == 0) is (banned is None), outcome.stdout
    assert (banned or "") in outcome.stdout
