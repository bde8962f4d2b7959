"""What a user's own code raises is told in one line, with its place."""

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.own.errors import OwnCodeError
from fieldtrial.training.attempt.failures import kind_of
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Fit
from tests.job_commands import JOBS, Job

NewRun = Callable[..., Run]
Project = Callable[..., str]

RAISING = """
import torch
from torch import nn


def stumble():
    raise LookupError("my own\\nproblem")


def part{takes}:
    {line}
"""
MODEL = """class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 3)
        def forward(self, images):
            return stumble() if self.training else self.head(images.flatten(1))
    return Net()"""
OPTIMIZER = """class Own(torch.optim.SGD):
        def step(self, closure=None):
            stumble()
    return Own(parameters, lr=lr)"""
DATASET = """from fieldtrial.training.contracts import Dataset
    return Dataset(name="a", fingerprint="1", channels=1, image_size=8, contents=stumble)"""
KINDS = {
    "model": ("(shape)", "stumble()", MODEL),
    "dataset": ("(root)", "stumble()", DATASET),
    "loss": ("(outputs, targets)", "stumble()"),
    "augmentation": ("(images, generator)", "stumble()"),
    "optimizer": ("(parameters, lr, weight_decay)", "stumble()", OPTIMIZER),
    "schedule": ("(moment)", "stumble()"),
    "metrics": ("(outputs, targets)", "stumble()"),
    "freeze": ("(model, units)", "stumble()", "yield stumble()"),
}
CASES = [(kind, takes, line) for kind, (takes, *lines) in KINDS.items() for line in lines]


@pytest.mark.parametrize(("kind", "takes", "line"), CASES)
def test_what_a_part_raises_is_told_with_its_place(
    kind: str, takes: str, line: str, project: Project, new_run: NewRun
) -> None:
    module = project(RAISING.format(takes=takes, line=line), "part")
    name = f"{module}:part"
    value: object = [name] if kind in ("augmentation", "metrics") else name
    run = new_run(batch_size=50, **{"classes": "3" if kind != "dataset" else "all", kind: value})
    with pytest.raises(OwnCodeError) as caught:
        list(Fit(Attempt.at(run)).records())
    said = rf"{kind} = '{name}': failed (on .*|for .*)?in /.*/{module}\.py, line 7: LookupError: "
    assert re.fullmatch(f"{said}my own problem", str(caught.value))
    assert isinstance(caught.value.__cause__, LookupError)
    assert kind_of(caught.value) == "error"
    assert "line 7, in stumble" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] can't allocate memory"),
        MemoryError(),
        OSError(28, "No space left on device"),
        OSError(116, "Stale file handle"),
        KeyboardInterrupt(),
        SystemExit(3),
        Diverged("the training loss is nan"),
        ConfigError(["dataset = 'a': nothing"]),
    ],
)
def test_what_the_part_is_not_to_blame_for_stays_as_it_is(
    raised: BaseException, project: Project, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import builtins\ndef part(outputs, targets):\n    raise builtins.raised\n"
    monkeypatch.setattr("builtins.raised", raised, raising=False)
    run = new_run(loss=f"{project(source, 'part')}:part")
    with pytest.raises(type(raised)) as caught:
        list(Fit(Attempt.at(run)).records())
    assert caught.value is raised


def test_a_check_tells_it_as_a_problem(project: Project, tmp_path: Path) -> None:
    module = project(RAISING.format(takes="(root)", line="stumble()"), "part")
    config = TrainConfig(dataset=f"{module}:part")
    (problem,) = check(Attempt(Run(tmp_path / "run"), config))["problems"]
    assert problem.startswith(f"dataset = '{module}:part': failed in ")


def test_a_run_that_failed_by_its_code_goes_on_once_that_is_mended(
    tmp_path: Path, command: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps").mkdir()
    file, good = tmp_path / "odd_losses.py", "return torch.nn.functional.cross_entropy(a, b)"
    file.write_text("import torch\ndef text(a, b):\n    raise ValueError('my own problem')\n")
    monkeypatch.chdir(tmp_path)
    words = ("train.py", "--run", "one", "--loss", "odd_losses:text", "--epochs", "1")
    failed = command(*words)
    line = f"loss = 'odd_losses:text': failed in {file}, line 3: ValueError: my own problem"
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == f"error: {line}"
    assert "Traceback" not in failed.stderr
    error = json.loads((tmp_path / "one" / "error.json").read_text())
    assert (error["kind"], error["message"]) == ("error", line)
    assert "raise ValueError('my own problem')" in error["details"]
    file.write_text(f"import torch\ndef text(a, b):\n    {good}\n")
    assert command(*words).returncode == 0


@pytest.mark.slow
def test_an_optimisers_place_is_told_under_zero(tmp_path: Path) -> None:
    """There, DeepSpeed calls it."""
    (tmp_path / "sweeps").mkdir()
    file = tmp_path / "odd_steps.py"
    file.write_text(RAISING.format(takes="(parameters, lr, weight_decay)", line=OPTIMIZER))
    launcher = ("-m", "fieldtrial.training.distributed.launcher", "--processes", "2")
    words = ("--run", "one", "--model", "mlp", "--epochs", "1", "--strategy", "zero2")
    failed = subprocess.run(
        [sys.executable, *launcher, JOBS / "train.py", *words, "--optimizer", "odd_steps:part"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert failed.returncode == 1, failed.stderr
    line = f"optimizer = 'odd_steps:part': failed in {file}, line 7: LookupError: my own problem"
    assert f"error: {line}" in failed.stderr
    details = json.loads((tmp_path / "one" / "error.json").read_text())["details"]
    assert "deepspeed" in details
