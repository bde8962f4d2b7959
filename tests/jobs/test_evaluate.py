"""jobs/evaluate.py, jobs/ensemble.py and jobs/features.py, as commands on a run."""

from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt
from tests.job_commands import Job


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
    assert f"test accuracy {result['test_accuracy']:.4g}" in done.stdout.splitlines()
    assert "class names" not in done.stdout
    before = job("evaluate.py", "--run", runs[0].path, "--split", "validation", "--initial")
    assert before.returncode == 0, before.stderr
    accuracy = runs[0].records()[0]["validation_accuracy"]
    assert f"initial validation accuracy {accuracy:.4g}" in before.stdout.splitlines()


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
