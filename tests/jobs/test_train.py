"""python jobs/train.py: trains, resumes, says what is wrong."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import load_predictions
from tests.job_commands import JOBS, Job

SCRIPT = JOBS / "train.py"
SMALL_DEVICE = Path(__file__).with_name("train_on_a_small_device.py")
SLOW_DISK = Path(__file__).with_name("train_on_a_slow_disk.py")
SECOND_START = Path(__file__).with_name("train_at_the_second_start.py")
SMALL = ["--model", "mlp", "--classes", "2", "--epochs", "2", "--dense_width", "8"]
LAUNCHER = ("-m", "fieldtrial.training.distributed.launcher", "--processes", "2")
TORCHRUN = (
    "-m",
    "torch.distributed.run",
    "--rdzv-backend=c10d",
    "--rdzv-endpoint=localhost:0",
    "--nproc-per-node=2",
)
# Each with how often it may start the processes again.
RESTARTING: dict[str, Callable[[int], tuple[str, ...]]] = {
    "launcher": lambda restarts: (*LAUNCHER, "--restarts", str(restarts)),
    "torchrun": lambda restarts: (*TORCHRUN, f"--max-restarts={restarts}", "--"),
}


def train(
    *arguments: str | Path, launcher: tuple[str, ...] = (), script: str | Path = SCRIPT
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *launcher, str(script), *map(str, arguments)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_it_trains_goes_on_and_does_nothing_twice(job: Job, tmp_path: Path) -> None:
    run = Run(tmp_path / "a run")
    done = train("--run", run.path, *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["0", "1", "2"]
    assert run.config() == TrainConfig(model="mlp", classes="2", epochs=2, dense_width=(8,))
    result = run.result()
    assert result is not None
    assert "test_accuracy" not in result

    tested = job("train.py", "--run", run.path, *SMALL, "--test")
    assert tested.returncode == 0, tested.stderr
    with_test = run.result() or {}
    assert with_test["test_accuracy"] > 0.5
    assert {name: with_test[name] for name in result} == result
    assert load_predictions(run, "test").summary()["accuracy"] == with_test["test_accuracy"]
    assert (
        load_predictions(run, "validation").summary()["accuracy"] == result["validation_accuracy"]
    )
    assert (
        f"test accuracy {100 * with_test['test_accuracy']:.4g} %" in tested.stdout.splitlines()[-1]
    )

    again = job("train.py", "--run", run.path, *SMALL, "--test")
    assert again.returncode == 0
    assert "is finished: nothing to do" in again.stdout
    assert run.attempts() == [1]
    assert run.result() == with_test

    other = job("train.py", "--run", run.path, *SMALL, "--lr", "0.5")
    assert other.returncode == 2
    assert "lr is 0.001 there and 0.5 now" in other.stderr


@pytest.mark.slow
def test_it_trains_on_two_processes(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    module = (*LAUNCHER, "-m", "fieldtrial")
    done = train("--run", run.path, *SMALL, launcher=module, script="train")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\nepoch 2 ") == 1
    assert run.environment()["1"]["world_size"] == 2
    command = (run.path / "command.txt").read_text()
    started = " python -m fieldtrial.training.distributed.launcher --processes 2 "
    assert f"{started}-m fieldtrial train --run " in command


@pytest.mark.slow
def test_torchrun_still_starts_it_with_a_warning(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    done = train("--run", run.path, *SMALL, launcher=(*TORCHRUN, "--"))
    assert done.returncode == 0, done.stderr
    assert run.environment()["1"]["world_size"] == 2
    said = re.findall("^warning: torchrun listens at port .*", done.stderr, re.MULTILINE)
    assert len(said) == 1
    assert "other users of this machine can run code as you" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.chaos)])
def test_a_run_that_does_not_fit_into_memory_goes_on_in_parts(
    tmp_path: Path, processes: int
) -> None:
    run = Run(tmp_path / "run")
    flags = [*SMALL, "--seed", "8", "--batch_size", "64"]
    launcher = RESTARTING["launcher"](3) if processes > 1 else ()
    done = train("--run", run.path, *flags, launcher=launcher, script=SMALL_DEVICE)
    assert done.returncode == 0, done.stderr
    parts = 4 // processes  # of a batch of 64 images, where a process may have 20
    assert f"out of memory: restarting with {parts} gradient accumulation steps" in done.stdout
    assert (run.result() or {})["accumulate"] == parts
    used = [facts["accumulate"] for facts in run.environment().values()]
    assert used == [1, 2, 4][: len(used)]
    assert [record["epoch"] for record in run.records()] == [0, 1, 2]
    assert run.error() is None
    assert f" --accumulate {parts} " in (run.path / "command.txt").read_text()

    told = train(
        "--run",
        tmp_path / "told",
        *flags,
        "--accumulate",
        str(parts),
        launcher=launcher,
        script=SMALL_DEVICE,
    )
    assert "out of memory" not in told.stdout
    assert Run(tmp_path / "told").attempts() == [1]
    assert [[r["train_loss"], r["validation_loss"]] for r in Run(tmp_path / "told").records()] == [
        [r["train_loss"], r["validation_loss"]] for r in run.records()
    ]


@pytest.mark.parametrize(
    ("flags", "status", "problem"),
    [
        (["--lr", "fast", "--model", "", "--epochs", "0"], 2, "lr = 'fast': must be a number"),
        (["--dataset", "folder:/no/such/folder"], 2, "/no/such/folder"),
        (["--accumulate", "65"], 2, "accumulate = 65: must be from 1 to batch_size = 64"),
        ([*SMALL, "--optimizer", "sgd", "--lr", "1e30"], 1, "loss is nan"),
    ],
)
def test_bad_input_and_divergence_are_clear_messages(
    job: Job, flags: list[str], status: int, problem: str, tmp_path: Path
) -> None:
    done = job("train.py", "--run", tmp_path / "run", *flags)
    assert done.returncode == status
    assert problem in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert "epoch 1 " not in done.stdout


def test_a_given_field_without_effect_is_a_warning(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [
        "--prepare",
        "--run",
        str(tmp_path / "run"),
        *SMALL,
        "--momentum",
        "0.5",
        "--blocks",
        "5",
    ]
    said = "warning: momentum = 0.5 has no effect: it needs optimizer = sgd or rmsprop, "
    done = job("train.py", *flags)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{said}classifier = softmax\n"
    monkeypatch.setenv("RANK", "1")
    assert job("train.py", *flags).stderr == ""
    monkeypatch.delenv("RANK")
    assert job("train.py", *flags, "--optimizer", "sgd").stderr.startswith("error: ")


def assert_refused_before_training(job: Job, flags: list[str], problem: str, folder: Path) -> None:
    refused = job("train.py", "--prepare", "--run", folder / "run", *SMALL, *flags)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {problem}")
    assert refused.stderr.count("\n") == 1
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--accumulate", "65"], "accumulate = 65: must be from 1 to batch_size = 64"),
        (["--freeze", "first:99"], "freeze = 'first:99': "),
        (["--weights", "run:other"], "weights = 'run:other': "),
    ],
)
def test_what_is_wrong_is_told_before_any_training_and_the_directory_stays_free(
    job: Job, flags: list[str], problem: str, tmp_path: Path
) -> None:
    assert_refused_before_training(job, flags, problem, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "here", "flags", "problem"),
    [
        (
            "2",
            "1",
            ["--model", "cnn", "--batch_size", "2"],
            "batch_size = 2: gives a process one image at a time, and",
        ),
        (
            "2",
            "1",
            ["--model", "cnn", "--batch_size", "8", "--accumulate", "4"],
            "batch_size = 8 in 4 gradient accumulation steps: ",
        ),
        ("999", "999", [], "999 processes on a machine with "),
    ],
)
def test_what_is_wrong_with_so_many_processes_is_told_before_they_are_started(
    job: Job,
    size: str,
    here: str,
    flags: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # GPUs normalise over the images of all
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    assert_refused_before_training(job, flags, problem, tmp_path)


def test_a_prepared_run_is_made_and_nothing_is_trained(job: Job, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    done = job("train.py", "--prepare", "--run", run.path, *SMALL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run.config() == TrainConfig(model="mlp", classes="2", epochs=2, dense_width=(8,))
    assert run.attempts() == []

    other = job("train.py", "--prepare", "--run", run.path, *SMALL, "--lr", "0.5")
    assert other.returncode == 2
    said = f"error: {run.path} holds a run of another config: lr is 0.001 there and 0.5 now\n"
    assert other.stderr == said


def test_a_run_of_an_earlier_version_goes_on_with_its_defaults_but_for_what_is_given(
    job: Job, tmp_path: Path
) -> None:
    run, path = Run(tmp_path), tmp_path / "config.json"
    written = TrainConfig(model="vgg11", epochs=2, dropout=0.0).to_dict()
    run.write_result({"outcome": "finished"})  # so that no network is built
    flags = ["--prepare", "--run", str(tmp_path), "--model", "vgg11", "--epochs", "2"]
    refused = f"error: {tmp_path} holds a run of another config: dropout is 0.0 there and None now"
    path.write_text(json.dumps(written))
    assert job("train.py", *flags).stderr == f"{refused}\n"  # it was set then
    del written["preprocessing"]  # which an earlier version did not have
    path.write_text(json.dumps(written))
    done = job("train.py", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    given = job("train.py", *flags, "--dropout", "none")
    assert (given.returncode, given.stderr) == (2, f"{refused}\n")
    assert json.loads(path.read_text()) == written


def test_a_command_that_is_refused_leaves_no_directory(job: Job, tmp_path: Path) -> None:
    """Else the corrected command would be told that the directory holds a run of another config."""
    flags = ["--run", str(tmp_path / "run"), *SMALL[:2], "--epochs", "1"]
    refused = job("train.py", *flags, "--classes", "1,77")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert job("train.py", *flags, "--classes", "1,77").returncode == 2
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", ["launcher", pytest.param("torchrun", marks=pytest.mark.chaos)]
)
@pytest.mark.parametrize(
    ("flags", "kind", "message", "script"),
    [
        (
            ["--optimizer", "sgd", "--lr", "1e30"],
            "diverged",
            "the training loss is nan at step",
            SLOW_DISK,
        ),
        (
            ["--batch_size", "1", "--model", "cnn"],
            "config",
            "batch_size = 1: gives a process one image at a",
            SCRIPT,
        ),
    ],
)
def test_what_would_fail_again_is_not_started_again(
    launcher: str, flags: list[str], kind: str, message: str, script: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    options = RESTARTING[launcher](1)
    done = train("--run", run.path, *SMALL, *flags, launcher=options, script=script)
    assert done.returncode == (2 if launcher == "launcher" else 1)
    assert run.attempts() == [1]
    assert (run.error() or {})["kind"] == kind
    said = done.stderr.count(message)
    # By two processes, if both get to it.
    assert said == 1 if kind == "diverged" else 1 <= said <= 2
    # After bad input the launcher does not even start the processes again.
    again = done.stderr.count(
        f"not trained again: attempt 1 ended with an error that would recur ({kind})\n"
    )
    assert again == 1 or (again == 0 and (launcher, kind) == ("launcher", "config"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", ["launcher", pytest.param("torchrun", marks=pytest.mark.chaos)]
)
def test_an_error_of_an_earlier_launch_does_not_keep_a_run_from_being_started_again(
    launcher: str,
    tmp_path: Path,
) -> None:
    run = Run.create(
        tmp_path / "run", TrainConfig(model="mlp", classes="2", epochs=2, dense_width=(8,))
    )
    with run.recorder(1):
        run.write_error("config", "what has been mended since", 1)
    done = train("--run", run.path, *SMALL, launcher=RESTARTING[launcher](1), script=SECOND_START)
    assert done.returncode == 0, done.stderr
    assert run.attempts() == [1, 2]
    assert run.error() is None


def test_help_has_a_flag_for_each_field_in_groups(job: Job) -> None:
    done = job("train.py", "--help")
    assert done.returncode == 0
    for name in FIELDS:
        assert f"--{name} " in done.stdout
    for group in ("data:", "model:", "optimisation:", "run:"):
        assert f"\n{group}\n" in done.stdout
