"""jobs/evaluate.py, jobs/ensemble.py and jobs/features.py, as commands on a run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt
from tests.job_commands import JOBS, Job
from tests.training.photos import jpeg

LAUNCHER = ["-m", "fieldtrial.training.distributed.launcher", "--processes", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Return two tested runs of three classes, and one of two."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for number, classes in enumerate(("3", "3", "2")):
        config = TrainConfig(
            model="mlp", classes=classes, epochs=1, lr=0.003, seed=number, dense_width=(16,)
        )
        made.append(Run.create(folder / f"run {number}", config))
        list(train(Attempt.at(made[-1], test=True)))
    return made


def test_a_run_is_evaluated_before_and_after_training(
    command: Job, job: Job, runs: list[Run]
) -> None:
    result = runs[0].result() or {}
    done = command("evaluate.py", "--run", runs[0].path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"test accuracy {100 * result['test_accuracy']:.4g} %" in done.stdout.splitlines()
    assert "class names" not in done.stdout
    before = job("evaluate.py", "--run", runs[0].path, "--split", "validation", "--initial")
    assert before.returncode == 0, before.stderr
    accuracy = runs[0].records()[0]["validation_accuracy"]
    assert f"initial validation accuracy {100 * accuracy:.4g} %" in before.stdout.splitlines()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the flags of a published model with drawn weights, on 67 images of three classes."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(67):
        path = folder / "images" / ("tench", "n01443537", "2")[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number, 70, 90))
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "weights.pth")
    dataset, weights = f"folder:{folder / 'images'}", str(folder / "weights.pth")
    return ["--model", "timm:test_resnet", "--weights", weights, "--dataset", dataset]


def test_a_published_classifier_is_evaluated(
    command: Job, job: Job, photos: list[str], tmp_path: Path
) -> None:
    keep = [*photos, "--head", "keep"]
    done = command("evaluate.py", *keep, "--split", "all", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "67 images of 3 of the 1,000 classes; '2' is n01484850 great white shark" in lines[2]
    stored = load_predictions(Run(tmp_path / "out"))
    assert lines[3].startswith(f"accuracy {100 * stored.summary()['accuracy']:.2f} % (for new ")
    assert lines[5].startswith("log loss ")
    strange = job("evaluate.py", *photos[:-1], "digits", "--head", "keep")
    assert strange.returncode == 2
    assert "the class '0' is none of the model's 1,000 classes" in strange.stderr


@pytest.mark.slow
@pytest.mark.chaos
def test_two_processes_answer_what_one_answers(photos: list[str], tmp_path: Path) -> None:
    found = []
    for name, launcher in (("one", []), ("two", LAUNCHER)):
        flags = [*photos, "--head", "keep", "--split", "all", "--out", str(tmp_path / name)]
        line = [sys.executable, *launcher, str(JOBS / "evaluate.py"), *flags]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("accuracy") == 2  # one process prints
        found.append(load_predictions(Run(tmp_path / name)))
    assert found[0].index.tolist() == found[1].index.tolist() == list(range(67))
    np.testing.assert_allclose(found[0].probability, found[1].probability, atol=1e-6)


def test_flags_that_do_not_go_together_are_refused(
    job: Job, photos: list[str], runs: list[Run]
) -> None:
    run = ["--run", str(runs[0].path)]
    for flags, says in (
        (photos, "--model needs --head"),
        ([*photos[:2], "--head", "keep"], "--model needs --weights, --dataset"),
        ([*photos, "--head", "keep", "--initial"], "--initial: not with --model"),
        ([*run, "--weights", "x", "--head", "keep"], "--weights, --head: not with --run"),
        ([*run, *photos[:2]], "not allowed with argument --run"),
        ([*run, "--split", "all"], "--split all: must be validation or test for a run"),
        ([*run, "--initial", "--dataset", "digits"], "--initial: not with --dataset"),
    ):
        done = job("evaluate.py", *flags)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr


def test_what_is_no_run_is_one_line(job: Job, tmp_path: Path) -> None:
    done = job("evaluate.py", "--run", tmp_path)
    assert done.returncode == 2
    assert "is not a run directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_ensemble_is_printed_and_stored_or_refused_in_a_line(
    command: Job, job: Job, runs: list[Run], tmp_path: Path
) -> None:
    done = command("ensemble.py", "--run", tmp_path / "both", runs[0].path, runs[1].path)
    assert (done.returncode, done.stderr) == (0, "")
    stored = load_predictions(Run(tmp_path / "both")).summary()
    assert [line.split()[-1] for line in done.stdout.splitlines()[-2:]] == ["mean", "vote"]
    assert f"{100 * stored['accuracy']:.2f}" == done.stdout.splitlines()[-2].split()[0]
    mixed = job("ensemble.py", "--run", tmp_path / "mixed", runs[0].path, runs[2].path)
    assert mixed.returncode == 2
    pair = f"{runs[0].path} and {runs[2].path}"
    assert mixed.stderr == f"error: {pair} do not share a test split: classes '3' against '2'\n"
    assert not (tmp_path / "mixed").exists()


@pytest.mark.slow
def test_machines_on_the_features_of_a_run_are_a_table(
    command: Job, job: Job, runs: list[Run], tmp_path: Path
) -> None:
    flags = ("--sweep", tmp_path / "machines", "--from", runs[0].path)
    done = command("features.py", *flags, "--svm_penalty", "10", "--lr", "0.5")
    assert done.returncode == 0, done.stderr
    assert "warning: lr = 0.5 has no effect: it needs classifier = softmax\n" in done.stderr
    table = (tmp_path / "machines" / "table.csv").read_text().splitlines()
    assert table[0].startswith("row,svm_kernel,svm_scaling,validation_accuracy,test_accuracy_mean")
    assert [line.split(",")[1:3] for line in table[1:]] == [
        [kernel, scaling]
        for kernel in ("linear", "rbf", "cubic")
        for scaling in ("none", "standard", "min_max")
    ]
    assert min(float(line.split(",")[4]) for line in table[1:]) > 0.9
    other = job("features.py", "--sweep", tmp_path / "machines", "--from", runs[1].path)
    assert other.returncode == 2
    assert "holds another sweep" in other.stderr
