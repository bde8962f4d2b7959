"""Evaluating again: the same numbers, what was before training, and other images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fieldtrial.config import TrainConfig
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Record, Run
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.inference import MAX_IMAGES
from fieldtrial.training.scoring import evaluation
from fieldtrial.training.scoring.evaluation import evaluate_elsewhere, evaluate_run
from fieldtrial.training.tasks.classification import task

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]


def test_an_older_run_gets_what_its_result_lacks(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(lr=0.003)
    train_until(run, test=True)
    complete = run.result() or {}
    new = ("class_names", "validation_auc", "validation_macro_f1", "test_auc", "test_macro_f1")
    run.write_result({name: value for name, value in complete.items() if name not in new})
    run.predictions_path("test").unlink()
    scores = evaluate_run(run, World())
    assert run.result() == complete
    assert scores.pop("class_names") == ["0", "1", "2"]
    assert {name: complete[name] for name in scores} == pytest.approx(scores, rel=1e-6)
    assert load_predictions(run).summary()["auc"] == complete["test_auc"]
    run.write_result({**complete, "test_accuracy": 0.5})  # as it was measured, where that was
    assert evaluate_run(run, World())["test_accuracy"] == complete["test_accuracy"]
    assert (run.result() or {})["test_accuracy"] == 0.5


def test_before_and_after_training(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(lr=0.003)
    records = train_until(run, test=True)
    before = evaluate_run(run, World(), ("validation", "test"), initial=True)
    assert before["initial_validation_accuracy"] == records[0]["validation_accuracy"]
    assert before["initial_validation_loss"] == pytest.approx(
        records[0]["validation_loss"], rel=1e-6
    )
    result = run.result() or {}
    assert (
        result["initial_test_accuracy"]
        == before["initial_test_accuracy"]
        < result["test_accuracy"] - 0.2
    )
    assert (
        load_predictions(run, "initial_test").summary()["accuracy"]
        == before["initial_test_accuracy"]
    )
    assert load_predictions(run, "test").summary()["accuracy"] == result["test_accuracy"]


def test_other_images_of_the_same_classes(
    new_run: NewRun, train_until: TrainUntil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = load(TrainConfig(classes="3"), None)
    for name, names, images in (
        ("one", "012", range(150)),
        ("two", "012", range(150, 250)),
        ("letters", "abc", range(150)),
    ):
        for index in digits.train[images]:
            path = tmp_path / name / names[digits.labels[index]] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.images[index, :, :, 0]).save(path)
    fields = {"classes": "all", "image_size": 8, "lr": 0.01, "batch_size": 16, "epochs": 5}
    # the other data set has not as many images of a class to train on, and need not
    run = new_run(dataset=f"folder:{tmp_path / 'one'}", images_per_class=30, **fields)
    train_until(run)
    result = run.result()
    scores = evaluate_elsewhere(run, World(), f"folder:{tmp_path / 'two'}")
    assert scores["test_accuracy"] > 0.85
    assert run.evaluations() == {f"folder:{tmp_path / 'two'} test": scores}
    assert run.result() == result
    own = json.loads(run.inputs_path.read_text())
    for cut in ("position", "content"):  # its own test images must not be those it was trained on
        write_json(run.inputs_path, own | {"cut": cut, "data": "of an earlier version"})
        asked = list[object]()

        def noted(*arguments: Any, asked: list[object] = asked, **more: Any) -> Data:
            asked.append(arguments[2])
            return load(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(task, "load", noted)
            patch.setattr(evaluation, "differences", lambda *_: [])
            evaluate_elsewhere(run, World(), f"folder:{tmp_path / 'two'}")
        assert asked == [cut, cut]
    write_json(run.inputs_path, own)
    with pytest.raises(ValueError, match="its classes are a, b, c; the run knows 0, 1, 2"):
        evaluate_elsewhere(run, World(), f"folder:{tmp_path / 'letters'}")
    grey = new_run("grey")
    train_until(grey)
    with pytest.raises(ValueError, match="its images have 3 channels, the model takes 1"):
        evaluate_elsewhere(grey, World(), f"folder:{tmp_path / 'two'}")


def test_what_did_not_fit_into_memory_is_evaluated_in_as_many_parts(
    new_run: NewRun, train_until: TrainUntil, batch_sizes: list[int]
) -> None:
    run = new_run()
    train_until(run)
    run.write_result({**(run.result() or {}), "accumulate": 4})
    batch_sizes.clear()
    evaluate_run(run, World(), ("test",))
    assert 1 < max(batch_sizes) <= MAX_IMAGES // 4


def test_what_cannot_be_evaluated_says_why(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run()
    with pytest.raises(ValueError, match="has not ended well, so there is nothing to evaluate"):
        evaluate_run(run, World())
    train_until(run)
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps({**config, "dense_width": [17]}))
    with pytest.raises(ValueError, match="its weights are not of its config"):
        evaluate_run(run, World())
    Path(run.weights_path).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read as tensors"):
        evaluate_run(run, World())
    run.weights_path.unlink()
    with pytest.raises(ValueError, match="keeps no weights, so there is nothing to evaluate"):
        evaluate_run(run, World())
