"""Stored predictions: what training writes is read, and nothing else is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.read.trials import load
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.inference import infer
from fieldtrial.training.scoring.evaluation import open_finished
from fieldtrial.training.tasks.classification.predictions import score_split

GOOD: dict[str, Any] = {
    "index": np.array([3, 5, 8]),
    "label": np.array([0, 1, 1]),
    "log_probability": np.log(np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], np.float32)),
}


LOGS = GOOD["log_probability"]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Return a sweep's folder with one trained and tested run, named trained."""
    folder = SweepFolder(tmp_path_factory.mktemp("sweep"))
    folder.list_trial("trained", 0, "final")
    run = Run.create(folder.path / "trained", TrainConfig(model="mlp", epochs=6, lr=0.003))
    list(train(Attempt.at(run, test=True)))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", TrainConfig(classes="2"))


def save(run: Run, **changes: Any) -> Path:
    path = Path(run.predictions_path("test"))
    np.savez(path, **{**GOOD, **changes})
    return path


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_tested_run_has_the_predictions_that_its_result_summarises(
    tested: SweepFolder, split: str
) -> None:
    run = tested.run("trained")
    result, predictions = run.result() or {}, load_predictions(run, split)
    assert predictions.class_names == tuple(result["class_names"]) == tuple("0123456789")
    assert predictions.log_probability.shape == (result[f"{split}_images"], 10)
    assert predictions.log_probability.dtype == np.float32
    assert 0.8 < result[f"{split}_accuracy"] < result[f"{split}_top5_accuracy"] <= 1
    assert {f"{split}_{name}": value for name, value in predictions.summary().items()} == {
        name: result[name]
        for name in result
        if name.startswith(split) and not name.endswith(("_loss", "_images"))
    }
    own = predictions.log_probability[np.arange(len(predictions.label)), predictions.label]
    assert -own.mean(dtype=np.float64) == pytest.approx(result[f"{split}_loss"], rel=1e-5)
    matrix = predictions.confusion_matrix()
    assert matrix.trace() / matrix.sum() == result[f"{split}_accuracy"]
    assert (predictions.predicted == predictions.label).mean() == result[f"{split}_accuracy"]
    assert predictions.class_accuracy() == pytest.approx(np.diag(matrix) / matrix.sum(1))
    assert predictions.class_auc().mean() == pytest.approx(result[f"{split}_auc"])
    assert len(predictions.roc_curves()) == 10


def test_the_tables_take_the_new_numbers_of_a_result(tested: SweepFolder) -> None:
    (tested.path / "sweep.json").touch()
    row = load(tested.path).iloc[0]
    assert row["test_auc"] > 0.9
    assert row["outcome"] == "finished"


def test_only_a_tested_run_has_them(run: Run) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"predictions-test\.npz: no such file; fieldtrial evaluate --run",
    ):
        load_predictions(run)
    with pytest.raises(
        FileNotFoundError, match=r"no such file, so .*elsewhere is not a run directory"
    ):
        load_predictions(Run(run.path / "elsewhere"))


def test_classes_of_an_older_run_are_called_by_their_numbers(run: Run) -> None:
    save(run)
    assert load_predictions(run).class_names == ("0", "1")
    run.write_result({"outcome": "finished", "class_names": ["cat", "dog"]})
    assert load_predictions(run).class_names == ("cat", "dog")
    run.write_result({"outcome": "finished", "class_names": ["cat", "dog", "bird"]})
    with pytest.raises(
        ValueError, match="holds predictions of 2 classes, but the run's result names 3"
    ):
        load_predictions(run)


def test_answers_of_a_sure_network_are_ranked_by_its_logits(tested: SweepFolder) -> None:
    run = tested.run("trained")
    data, network = open_finished(run, World())
    with torch.no_grad():
        for last in list(network.parameters())[-2:]:
            last.mul_(20)
    attempt = Attempt.at(run, test=True)
    logits = torch.cat([part for _, part in infer(network, data, data.test, attempt)]).double()
    again = Run.create(tested.path / "sure", run.config())
    score_split(network, data, "test", attempt).write(again.predictions_path("test"))
    found = load_predictions(again)
    own = found.label[:, None] == np.arange(10)
    odds = [
        logits[:, number] - torch.logsumexp(logits[:, np.arange(10) != number], 1)
        for number in range(10)
    ]
    areas = [roc_auc_score(own[:, number], odds[number]) for number in range(10)]
    assert found.class_auc() == pytest.approx(areas, abs=1e-6)
    rounded = logits.float().softmax(1)
    tied = [roc_auc_score(own[:, number], rounded[:, number]) for number in range(10)]
    assert max(np.abs(np.subtract(areas, tied))) > 1e-4


def test_probabilities_of_an_older_run_rank_as_they_did(run: Run) -> None:
    old = np.array([[1, 0], [1e-45, 1], [1e-30, 1]], np.float32)
    arrays = {name: GOOD[name] for name in ("index", "label")}
    np.savez(run.predictions_path("test"), **arrays, probability=old)
    found = load_predictions(run)
    assert found.probability == pytest.approx(old, abs=1e-40)
    assert np.isfinite(found.log_probability).all()
    assert found.log_probability.argsort(0).tolist() == old.argsort(0, kind="stable").tolist()
    for wrong in (2 * old, -old, old * np.nan):
        np.savez(run.predictions_path("test"), **arrays, probability=wrong)
        with pytest.raises(ValueError, match="probabilities must be from 0 to 1"):
            load_predictions(run)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"index": np.array([3, 5])}, "2 indices, 3 labels, 3 probabilities"),
        ({"label": np.array([0, 1, 2])}, "labels must be from 0 to 1"),
        ({"label": np.array([0, -1, 1])}, "labels must be from 0 to 1"),
        ({"label": np.array([0.0, 1.0, 1.0])}, "label is float64 with 1 dimensions"),
        ({"log_probability": LOGS[0]}, "log_probability is float32 with 1 dimensions"),
        ({"log_probability": LOGS * 2}, "1 in sum for each image"),
        ({"log_probability": LOGS * np.nan}, "1 in sum for each image"),
        ({"log_probability": LOGS - np.inf}, "1 in sum for each image"),
        ({"log_probability": -1e30 * LOGS}, "1 in sum for each image"),
        ({"label": np.array([0, None, 1])}, "label is object"),
        ({name: GOOD[name][:0] for name in GOOD}, "0 indices, 0 labels, 0 probabilities"),
    ],
)
def test_other_contents_are_refused(changes: dict[str, Any], reason: str, run: Run) -> None:
    path = save(run, **changes)
    with pytest.raises(ValueError, match="not whole predictions") as error:
        load_predictions(run)
    assert reason in str(error.value)
    assert str(path) in str(error.value)


def test_damaged_files_are_refused(run: Run) -> None:
    whole = save(run).read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(LOGS.tobytes())] ^= 1
    for content in (whole[:-40], whole[: len(whole) // 2], b"", b"text", bytes(flipped)):
        Path(run.predictions_path("test")).write_bytes(content)
        with pytest.raises(ValueError, match=r"predictions-test\.npz: not whole predictions: "):
            load_predictions(run)
    np.savez(run.predictions_path("test"), index=GOOD["index"], label=GOOD["label"])
    with pytest.raises(ValueError, match="probability"):
        load_predictions(run)


def test_the_f1_of_classes_is_of_the_images_that_the_accuracy_counts(run: Run) -> None:
    """Two images are right by the last digit of the logarithm, which the probability has not."""
    steps = np.nextafter(np.log(0.5), 0) + np.spacing(0.5) * np.arange(4)
    same = int(np.flatnonzero(np.diff(np.exp(steps)) == 0)[0])
    logs = np.array([steps[same : same + 2]] * 2)
    assert np.exp(logs[0, 0]) == np.exp(logs[0, 1])
    save(run, index=np.arange(2), label=np.array([1, 1]), log_probability=logs)
    predictions = load_predictions(run)
    assert list(predictions.class_accuracy())[1] == 1.0
    assert list(predictions.class_f1()) == [0.0, 1.0]
