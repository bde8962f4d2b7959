"""examples/own, copied to another place, runs there with the package as it is installed."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from fieldtrial.own.load import load
from fieldtrial.own.project import PROJECT, TRUSTED, enter_project, trust
from tests.wheel import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "own"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the example in a folder without anything of the checkout."""
    copied = shutil.copytree(EXAMPLE, tmp_path / "mine", ignore=shutil.ignore_patterns("__pyc*"))
    return Path(copied)


@pytest.mark.slow
def test_the_sweep_of_own_parts_comes_to_a_table(project: Path, installed: Path) -> None:
    budget = ("--trials", "1", "--seeds", "1", "--set", "epochs=2")
    done = run(installed / "python", "sweeps/outlines.py", *budget, cwd=project)
    assert done.returncode == 0, done.stderr
    folder = project / "runs" / "outlines"
    with (folder / "table.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert [(one["freeze"], one["model.width"]) for one in cells] == [
        ("none", "4"),
        ("none", "12"),
        ("lab.training:filters", "4"),
        ("lab.training:filters", "12"),
    ]
    results = [json.loads(path.read_text()) for path in folder.glob("*/result.json")]
    tested = [one for one in results if "test_worst_class" in one]
    assert len(tested) == 4
    # The mean over the classes of what is right cannot be below that of the worst class.
    assert all(0 <= one["test_worst_class"] <= one["test_accuracy"] + 0.01 for one in tested)
    assert len({one["parameters"] for one in tested}) == 2
    assert len({one["trainable_parameters"] for one in tested}) == 4
    words = ("table", "runs/outlines", "--rows", "freeze,model.width")
    shown = run(installed / "fieldtrial", *words, "--metric", "test_worst_class", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert "test worst class" in shown.stdout
    trial = next(path.parent for path in folder.glob("*/result.json"))
    refused = run(installed / "fieldtrial", "evaluate", "--run", trial, cwd=project)
    assert refused.returncode == 2
    assert "lab.nets:Stages" in refused.stderr
    assert "--trust" in refused.stderr


def test_the_parts_do_what_they_say(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROJECT, "[]")
    monkeypatch.setenv(TRUSTED, "")
    enter_project(project / "sweeps")
    trust(["lab.training:focal", "lab.data:outlines"])
    focal = load("loss", "lab.training:focal")
    outputs, labels = torch.tensor([[2.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 1])
    plain = functional.cross_entropy(outputs, labels, reduction="none")
    assert torch.equal(focal(outputs, labels, gamma=0.0), plain)
    # by hand: the second image's class has the probability 1 / (1 + e^0.5)
    chance = 1 / (1 + torch.tensor(0.5).exp())
    assert float(focal(outputs, labels)[1]) == pytest.approx(
        float(-((1 - chance) ** 2) * chance.log()), rel=1e-5
    )
    images = load("dataset", "lab.data:outlines")(project, count=9, noise=0.0).images
    brightness = images.reshape(3, 3, -1).mean((0, 2))  # of the discs, rings and squares
    assert brightness[1] == min(brightness)  # a ring is a disc with a hole
