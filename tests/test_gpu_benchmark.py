"""The benchmark of GPUs runs on CPUs too, in small, without what a machine with a GPU may lack."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
ABSENT = ("ray", "submitit", "optuna", "deepspeed", "captum", "torchmetrics", "av", "plotly")


@pytest.fixture
def benchmark(tmp_path: Path) -> Any:
    """Run it with these arguments; return the lines of each section, and what it printed."""
    absent = tmp_path / "absent"
    absent.mkdir()
    for name in ABSENT:
        (absent / f"{name}.py").write_text(f"raise ImportError('{name} is not there')\n")
    path = os.pathsep.join(filter(None, [str(absent), os.environ.get("PYTHONPATH")]))

    def run(*arguments: str) -> tuple[dict[str, list[dict[str, Any]]], str]:
        output = tmp_path / "gpu.json"
        command = [sys.executable, str(SCRIPT), "--device", "cpu", "--output", str(output)]
        done = subprocess.run(
            [*command, *arguments],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
            text=True,
        )
        sections: dict[str, list[dict[str, Any]]] = {}
        for line in json.loads(output.read_text())["lines"]:
            sections.setdefault(line["section"], []).append(line)
        return sections, done.stdout

    return run


def test_a_section_that_fails_is_a_line_and_the_others_go_on(benchmark: Any) -> None:
    only = ("--only", "cifar,resume,processes")
    sections, printed = benchmark(*only, "--cifar", "/nowhere", "--seconds", "600")
    (failed,) = sections["cifar"]
    assert failed["what"] == "not to its end"
    assert "/nowhere" in failed["remark"]
    (resumed,) = sections["resume"]
    assert resumed["ours"] == [0]  # bit for bit, on one CPU process
    (processes,) = sections["processes"]
    assert processes["ours"][0] <= 1e-6
    assert printed.count("| processes ") == 1  # of the table


@pytest.mark.chaos
def test_an_accuracy_that_is_not_reached_has_no_time(benchmark: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(400):
        path = tmp_path / "noise" / f"class{number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    only = ("--only", "cifar", "--seconds", "600")
    sections, _ = benchmark(*only, "--cifar", str(tmp_path / "noise"))
    time, accuracy = sections["cifar"]
    assert (time["ours"], time["peer"], time["ratio"]) == ([], [], None)
    assert time["remark"].startswith("not reached in 1 of 1 runs; not reached by the peer: ")
    assert max(accuracy["ours"] + accuracy["peer"]) < 0.94


def test_a_section_that_takes_too_long_is_ended(benchmark: Any) -> None:
    sections, _ = benchmark("--only", "resnet50", "--seconds", "0.5")
    assert [line["remark"] for line in sections["resnet50"]] == ["took more than 0.5 s"]
