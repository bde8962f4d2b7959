"""Stored answers of labels and numbers are believed as far as they fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.results.read.answers import StoredLabels, StoredNumbers, load_answers

INDEX = np.arange(3)
LABELS: dict[str, Any] = {
    "index": INDEX,
    "truth": np.array([[1, 0], [0, 1], [1, 1]], np.uint8),
    "logit": np.array([[1, -1], [0, 2], [3, -2]], np.float32),
}
NUMBERS: dict[str, Any] = {
    "index": INDEX, "target": np.array([1.0, 2.0, 3.0]), "value": np.array([1.5, 2.0, 2.0]),
    "deviation": np.array([2.0]),
}  # fmt: skip


def written(folder: Path, arrays: dict[str, Any], names: list[str]) -> Run:
    run = Run.create(folder / "run", TrainConfig(task="multilabel", select="last"))
    np.savez(str(run.predictions_path("test").path), **arrays)
    run.write_result({"outcome": "finished", "class_names": names})
    return run


def test_what_was_stored_is_read(tmp_path: Path) -> None:
    made = load_answers(written(tmp_path / "a", LABELS, ["cat", "dog"]))
    assert isinstance(made, StoredLabels)
    assert made.class_names == ("cat", "dog")
    assert made.by_class()["f1"].tolist() == pytest.approx([1.0, 2 / 3])
    numbers = load_answers(written(tmp_path / "b", NUMBERS, ["age"]))
    assert isinstance(numbers, StoredNumbers)
    assert numbers.summary()["mae"] == 0.5
    assert numbers.take(np.array([2, 0])).value.tolist() == [2.0, 1.5]


@pytest.mark.parametrize(
    ("arrays", "changes", "problem"),
    [
        (LABELS, {"truth": LABELS["truth"][:2]}, "truth has"),
        (LABELS, {"truth": LABELS["truth"] + 1}, "truth has"),
        (LABELS, {"index": np.array([0, 0, 1])}, "an image is there twice"),
        (LABELS, {"index": INDEX[:2]}, "2 indices, 3 answers"),
        (LABELS, {"logit": np.full((3, 2), np.nan, np.float32)}, "numbers must be finite"),
        (LABELS, {"logit": np.zeros((3, 3), np.float32)}, "truth has"),
        (LABELS, {"logit": np.array([[object()] * 2] * 3)}, "logit is object"),
        (NUMBERS, {"value": np.array([1.0, np.inf, 0.0])}, "numbers must be finite"),
        (NUMBERS, {"value": np.zeros(4)}, "3 targets, 4 values"),
        (NUMBERS, {"deviation": np.zeros(1)}, "deviation"),
        (NUMBERS, {"target": np.zeros((3, 1))}, "target is float64 with 2 dimensions"),
    ],
)
def test_what_does_not_fit_is_refused(
    arrays: dict[str, Any], changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    run = written(tmp_path, {**arrays, **changes}, ["cat", "dog"])
    with pytest.raises(
        ValueError, match=rf"predictions-test\.npz: not whole predictions: .*{problem}"
    ):
        load_answers(run)
    run = written(tmp_path / "names", LABELS, ["cat", "dog", "cow"])
    with pytest.raises(ValueError, match="2 labels, but the run's result names 3"):
        load_answers(run)
