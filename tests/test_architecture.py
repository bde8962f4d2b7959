"""The design's rules, as far as a machine can check them; each check is shown to fail on a planted
violation.
"""

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
TOP_LEVEL = {"sweeps", "cluster", "jobs", "slurm", "src", "tests", "benchmarks", "docs", "examples"}
MOST_MODULES = 12  # in a folder of src
LONGEST = {"src": 350, "sweeps": 40, "jobs": 10, "tests": 350, "slurm": 25}  # lines


def sources(*parts: str) -> Iterator[Path]:
    for part in parts:
        yield from sorted((ROOT / part).rglob("*.py"))


def uses_sys_path(tree: ast.AST) -> bool:
    return any(
        (
            isinstance(node, ast.Attribute)
            and node.attr == "path"
            and ast.unparse(node.value) == "sys"
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "sys"
            and "path" in {alias.name for alias in node.names}
        )
        for node in ast.walk(tree)
    )


def lint_imports(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run the import contracts of pyproject.toml on the package in `project`/src."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_the_import_contracts_hold() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout


# Where a line is planted, the line, and the contract that it breaks.
PLANTED = [
    ("control/planted.py", "import torch", "The control half never reaches torch"),
    ("results/planted.py", "import fieldtrial.training.planted", "Neither control nor results"),
    ("training/loop/planted.py", "def late():\n    import submitit", "The training half never"),
    ("insight/planted.py", "import submitit", "Pictures of a model are drawn without Ray"),
    ("video/planted.py", "import submitit", "Videos are analysed without Ray"),
    ("results/read/planted.py", "import ray", "Tables are made from files alone"),
    ("disk/run.py", "import fieldtrial.results.read.trials", "The rooms stand on each other"),
    ("control/places/planted.py", "import fieldtrial.control.engine.loop", "Inside control:"),
    ("training/models/planted.py", "import fieldtrial.training.loop.fit", "Inside training:"),
    ("results/read/planted.py", "import fieldtrial.results.table.render", "Inside results:"),
    ("disk/files.py", "import fieldtrial.disk.run", "Inside disk:"),
]


def test_planted_violations_break_every_contract(tmp_path: Path) -> None:
    package = tmp_path / "src" / "fieldtrial"
    shutil.copytree(ROOT / "src" / "fieldtrial", package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (package / "training" / "planted.py").touch()
    for module, line, _ in PLANTED:
        with (package / module).open("a") as file:
            file.write(f"\n{line}\n")
    outcome = lint_imports(tmp_path)
    assert outcome.returncode != 0
    verdicts = [line for line in outcome.stdout.splitlines() if line.endswith(("KEPT", "BROKEN"))]
    assert verdicts
    assert [line for line in verdicts if line.endswith("KEPT")] == []  # a contract nobody breaks
    for _, _, contract in PLANTED:
        assert any(line.startswith(contract) for line in verdicts), contract


def test_rooms_are_small_and_names_do_not_stutter() -> None:
    modules: dict[Path, list[str]] = {}
    for path in sources("src"):
        if path.name != "__init__.py":
            modules.setdefault(path.parent, []).append(path.stem)
    assert {str(room): names for room, names in modules.items() if len(names) > MOST_MODULES} == {}
    assert [room for room, names in modules.items() if room.name in names] == []


@pytest.mark.parametrize(("part", "longest"), LONGEST.items())
def test_files_are_short(part: str, longest: int) -> None:
    paths = [*sources(part), *(ROOT / part).glob("*.sh")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > longest} == {}


def test_no_module_edits_the_import_path() -> None:
    assert uses_sys_path(ast.parse("import sys\nsys.path.append('x')"))
    assert uses_sys_path(ast.parse("from sys import path"))
    assert [
        str(path) for path in sources(*PARTS) if uses_sys_path(ast.parse(path.read_text()))
    ] == []


def test_packages_have_empty_init_files() -> None:
    packages = {path.parent for path in sources("src")} - {ROOT / "src"}
    assert [str(package) for package in packages if not (package / "__init__.py").exists()] == []
    own = ROOT / "src" / "fieldtrial" / "__init__.py"  # what `import fieldtrial as ft` gives
    full = [path for path in sources("src") if path.name == "__init__.py" and path.read_bytes()]
    assert full == [own]


def test_what_is_run_is_not_importable() -> None:
    assert [
        str(path)
        for path in sources(*PARTS)
        if path.name == "__init__.py" and "src" not in path.parts
    ] == []


def test_the_top_level_folders_are_the_designed_ones() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}
    folders = {
        entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    } - ignored
    assert folders <= TOP_LEVEL
    assert {"src", "tests", "jobs"} <= folders


def banned_imports(project: Path) -> "subprocess.CompletedProcess[str]":
    """Run ruff's check for the banned imports of pyproject.toml on `project`."""
    command = [
        str(Path(sys.executable).with_name("ruff")),
        "check",
        "--no-cache",
        "--output-format=concise",
        "--select",
        "TID251",
        ".",
    ]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_heavy_packages_are_imported_where_they_belong() -> None:
    outcome = banned_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout


BANNED = {
    "src/fieldtrial/training/loop/strategy.py": "import deepspeed",
    "src/fieldtrial/training/loop/fit.py": "def late():\n    from deepspeed.runtime import engine",
    "src/fieldtrial/training/distributed/world.py": "import submitit",
    "src/fieldtrial/results/read/trials.py": "import ray",
    "jobs/train.py": "from ray import tune",
}
ALLOWED = {
    "src/fieldtrial/training/loop/zero.py": "import deepspeed.comm",
    "src/fieldtrial/control/places/interface.py": "import submitit",
    "sweeps/digits_transfer.py": "from ray import tune",
}


def test_planted_imports_are_banned_where_they_do_not_belong(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, line in (BANNED | ALLOWED).items():
        (tmp_path / module).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / module).write_text(f"{line}\n")
    outcome = banned_imports(tmp_path)
    assert outcome.returncode != 0
    found = {line.split(":")[0] for line in outcome.stdout.splitlines() if " TID251 " in line}
    assert found == set(BANNED), outcome.stdout
