"""Stored predictions: what training writes is read, and nothing else is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.results.read.trials import load
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop.attempt import Attempt

GOOD: dict[str, Any] = {
    "index": np.array([3, 5, 8]),
    "label": np.array([0, 1, 1]),
    "probability": np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], np.float32),
}


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
    assert predictions.probability.shape == (result[f"{split}_images"], 10)
    assert predictions.probability.dtype == np.float32
    assert 0.8 < result[f"{split}_accuracy"] < result[f"{split}_top5_accuracy"] <= 1
    assert {f"{split}_{name}": value for name, value in predictions.summary().items()} == {
        name: result[name]
        for name in result
        if name.startswith(split) and not name.endswith(("_loss", "_images"))
    }
    own = predictions.probability[np.arange(len(predictions.label)), predictions.label].astype(
        np.float64
    )
    assert -np.log(own).mean() == pytest.approx(result[f"{split}_loss"], rel=1e-5)
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
        match=r"predictions-test\.npz: no such file; python jobs/evaluate\.py --run",
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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"index": np.array([3, 5])}, "2 indices, 3 labels, 3 probabilities"),
        ({"label": np.array([0, 1, 2])}, "labels must be from 0 to 1"),
        ({"label": np.array([0, -1, 1])}, "labels must be from 0 to 1"),
        ({"label": np.array([0.0, 1.0, 1.0])}, "label is float64 with 1 dimensions"),
        ({"probability": GOOD["probability"][0]}, "probability is float32 with 1 dimensions"),
        ({"probability": GOOD["probability"] * 2}, "1 in sum for each image"),
        ({"probability": GOOD["probability"] * np.nan}, "1 in sum for each image"),
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
    flipped[whole.index(GOOD["probability"].tobytes())] ^= 1
    for content in (whole[:-40], whole[: len(whole) // 2], b"", b"text", bytes(flipped)):
        Path(run.predictions_path("test")).write_bytes(content)
        with pytest.raises(ValueError, match=r"predictions-test\.npz: not whole predictions: "):
            load_predictions(run)
    np.savez(run.predictions_path("test"), index=GOOD["index"], label=GOOD["label"])
    with pytest.raises(ValueError, match="probability"):
        load_predictions(run)
