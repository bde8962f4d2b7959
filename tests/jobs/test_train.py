"""python jobs/train.py: trains, resumes, says what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.results.predictions import load_predictions
from fieldtrial.run import Run

SCRIPT = Path(__file__).parents[2] / "jobs" / "train.py"
SMALL = ["--model", "mlp", "--classes", "2", "--epochs", "2", "--dense_width", "8"]
LAUNCHER = ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--nproc-per-node=2"]


def train(*arguments: str | Path, launcher: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_it_trains_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    run = Run(tmp_path / "a run")
    done = train("--run", run.path, *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # also at the end, though jobs/tabulate.py hides the package that torch looks for
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["0", "1", "2"]
    assert run.config() == TrainConfig(model="mlp", classes="2", epochs=2, dense_width=(8,))
    result = run.result()
    assert result is not None
    assert "test_accuracy" not in result

    tested = train("--run", run.path, *SMALL, "--test")
    assert tested.returncode == 0, tested.stderr
    with_test = run.result() or {}
    assert with_test["test_accuracy"] > 0.5
    assert {name: with_test[name] for name in result} == result
    assert load_predictions(run, "test").summary()["accuracy"] == with_test["test_accuracy"]
    assert load_predictions(run, "validation").summary()["accuracy"] == result["validation_accuracy"]
    assert f"test accuracy {with_test['test_accuracy']:.4g}" in tested.stdout.splitlines()[-1]

    again = train("--run", run.path, *SMALL, "--test")
    assert again.returncode == 0
    assert "is finished: nothing to do" in again.stdout
    assert run.attempts() == [1]
    assert run.result() == with_test

    other = train("--run", run.path, *SMALL, "--lr", "0.5")
    assert other.returncode == 1
    assert "lr is 0.001 there and 0.5 now" in other.stderr
    assert "Traceback" not in other.stderr


@pytest.mark.slow
def test_it_trains_on_two_processes(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    done = train("--run", run.path, *SMALL, launcher=(*LAUNCHER, "--"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nepoch 2 ") == 1
    assert run.environment()["1"]["world_size"] == 2
    command = (run.path / "command.txt").read_text()
    assert " torchrun --nproc-per-node 2 -- jobs/train.py --run " in command


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--lr", "fast", "--model", "", "--epochs", "0"], "lr = 'fast': must be a number"),
        (["--dataset", "folder:/no/such/folder"], "/no/such/folder"),
        ([*SMALL, "--optimizer", "sgd", "--lr", "1e30"], "loss is nan"),
    ],
)
def test_bad_input_is_one_clear_message(flags: list[str], problem: str, tmp_path: Path) -> None:
    done = train("--run", tmp_path / "run", *flags)
    assert done.returncode == 1
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
    assert "epoch 1 " not in done.stdout


def test_help_has_a_flag_for_each_field_in_groups() -> None:
    done = train("--help")
    assert done.returncode == 0
    for name in FIELDS:
        assert f"--{name} " in done.stdout
    for group in ("data:", "model:", "optimisation:", "run:"):
        assert f"\n{group}\n" in done.stdout


def test_the_job_is_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 60
