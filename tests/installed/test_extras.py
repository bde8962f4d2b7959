"""What each extra brings, and what is said where one is not installed."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fieldtrial.command_line import Main
from fieldtrial.commands.program import COMMANDS
from tests.hiding import RAY, TORCH, hiding

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "fieldtrial"
# Distributions whose modules have other names.
DISTRIBUTIONS = {
    "PIL": "pillow", "sklearn": "scikit-learn", "pynvml": "nvidia-ml-py", "google": "protobuf",
    "google_crc32c": "google-crc32c", "re2": "google-re2", "supervision": "trackers",
    "markupsafe": "jinja2", "mlflow": "mlflow-skinny",
}  # fmt: skip
# The extras that the parts of the program may import from. What is in none of them may import
# from those that both halves have.
ROOMS = {
    "control": {"control"}, "results": {"report"}, "search_domains": {"control"},
    "training": {"train"}, "worker": {"train"}, "insight": {"train"}, "detection": {"train"},
    "video": {"train", "report"},
}  # fmt: skip


def required() -> dict[str, set[str]]:
    """Return the distributions of each extra, and of none under the empty name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}

    def names(extra: str) -> Iterator[str]:
        for requirement in lists[extra]:
            if own := re.match(r"fieldtrial\[(.*)\]", requirement):
                for other in own[1].split(","):
                    yield from names(other)
            else:
                yield re.split(r"[\[<>=]", requirement)[0].lower().replace("_", "-")

    return {extra: set(names(extra)) for extra in lists}


def imported(path: Path) -> set[str]:
    """Return the distributions that a module imports from, also late."""
    modules = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    names = {module.partition(".")[0] for module in modules} - {"fieldtrial"}
    names -= sys.stdlib_module_names
    return {DISTRIBUTIONS.get(name, name).lower().replace("_", "-") for name in names}


def test_what_a_room_imports_is_in_its_extra() -> None:
    extras = required()
    both = extras[""] | (extras["train"] & extras["control"])
    apart = {"train", "control", "all", "test", "docs"}  # others are for exports of results
    missing = set[tuple[str, str]]()
    for path in SOURCES.rglob("*.py"):
        inside = path.relative_to(SOURCES)
        own = ROOMS.get(inside.parts[0].removesuffix(".py"), set())
        own = own | ({*extras} - apart if "report" in own else set())
        allowed = both.union(*(extras[extra] for extra in own))
        missing |= {(str(inside), name) for name in imported(path) - allowed}
    assert missing == set()
    assert "ray" in imported(SOURCES / "control" / "places" / "local.py")


def test_the_libraries_of_one_half_are_not_in_the_other() -> None:
    extras = required()
    assert extras["train"].isdisjoint({"ray", "submitit", "optuna", "pandas", "plotly"})
    assert extras["control"].isdisjoint({"torch", "torchvision", "timm", "deepspeed", "captum"})
    assert len(extras[""]) < 8


NEEDS = {
    "train": (["--run", "r"], "torch", "train"),
    "data": (["digits"], "torch", "train"),
    "explain": (["--run", "r"], "torch", "train"),
    "features": (["--sweep", "s"], "torch and pandas", "train,report"),
    "ensemble": (["--run", "r", "a"], "pandas", "report"),
    "table": (["runs"], "pandas", "report"),
    "report": (["runs"], "pandas", "report"),
    "export": (["runs", "--to", "csv", "out"], "pandas", "report"),
    "detect": (["--video", "v"], "torch and pandas", "train,report"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_command_names_the_extra_that_it_lacks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Main = importlib.import_module(COMMANDS[name][0]).main
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    arguments, modules, extras = NEEDS[name]
    assert main(arguments) == 2
    told = f"error: {modules} not installed: pip install 'fieldtrial[{extras}]'\n"
    assert capsys.readouterr().err == told
    assert list(tmp_path.iterdir()) == []


def without(
    names: tuple[str, ...], folder: Path, *words: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of the program in `folder` where these modules cannot be imported."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | hiding(names, folder.parent / "hiding")
    return subprocess.run(
        [sys.executable, "-P", "-m", "fieldtrial", *words], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_driver_without_torch_shows_what_it_knows(tmp_path: Path) -> None:
    project = tmp_path / "project"
    assert without(TORCH, tmp_path, "new", str(project)).returncode == 0
    dry = without(TORCH, project, "run", "sweeps/first.py", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    head, *rest = dry.stdout.splitlines()
    assert head.split() == ["model", "optimizer", "trials", "seeds"]
    assert [line.split() for line in rest[:4:3]] == [
        ["cnn", "sgd", "4", "3"],
        ["mlp", "adamw", "4", "3"],
    ]
    assert "4 rows, 28 trials and 0 sources in runs/first" in rest
    assert any(line.startswith("torch is not installed here: the trials") for line in rest)
    refused = without(TORCH, project, "run", "sweeps/first.py")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "torch not installed: pip install 'fieldtrial[train]'\n"
    assert not (project / "runs").exists()


def test_a_run_is_trained_where_the_driver_is_not_installed(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    flags = ["--model", "mlp", "--classes", "2", "--epochs", "1", "--dense_width", "8", "--test"]
    done = without(RAY, folder, "train", "--run", "run", *flags)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    refused = without(RAY, folder, "table", "run")
    assert refused.stderr == "error: pandas not installed: pip install 'fieldtrial[report]'\n"
