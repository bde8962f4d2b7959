"""What a trial depends on is recorded, and a difference is refused with what differs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from sklearn.model_selection import train_test_split

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.files import atomic_file, write_json
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.data import load as loading
from fieldtrial.training.data.recipe import recorded
from fieldtrial.training.distributed.world import World
from fieldtrial.training.inputs import record
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.models.source import ModelSource
from fieldtrial.training.scoring.evaluation import evaluate_run

TrainUntil = Callable[..., list[Record]]
FIELDS: dict[str, Any] = {"image_size": 8, "model": "mlp", "dense_width": [4], "epochs": 2}


def add(folder: Path, numbers: range, prefix: str = "") -> None:
    """Write noise, another image for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        seed = [number, *os.fsencode(folder.name + prefix)]
        pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{prefix}{number:03}.png")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in "ab":
        add(tmp_path / "images" / name, range(20))
    return tmp_path / "images"


def config_of(images: Path, **fields: Any) -> TrainConfig:
    return TrainConfig.from_dict({**FIELDS, "dataset": f"folder:{images}", **fields})


def grow(images: Path) -> None:
    """Add images, as another user may between two commands; the next worker starts cold."""
    add(images / "a", range(10), "new")
    start_cold()


def start_cold() -> None:
    loading._load.cache_clear()
    loading._open.cache_clear()


def as_an_earlier_version_leaves(run: Run) -> None:
    run.inputs_path.unlink()
    for path in run.checkpoints():
        state = checkpoint.read(path)
        del state["inputs"]
        with atomic_file(path) as file:  # torch has mapped the other one
            torch.save(state, file)


def test_a_run_goes_on_with_its_data_alone(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    run = Run.create(tmp_path / "run", config_of(images))
    train_until(run, 1, last_epoch=1)
    known = json.loads(run.inputs_path.read_text())
    assert known["classes"] == {"a": 20, "b": 20}
    assert known["weights"] is None
    assert known["versions"]["torch"].startswith(".".join(torch.__version__.split(".")[:2]))
    saved = checkpoint.read(run.checkpoints()[0])
    assert saved["inputs"] == known
    grow(images)
    (images / "b" / "003.png").unlink()
    add(images / "b", range(4, 5), "other")
    (images / "b" / "other004.png").rename(images / "b" / "004.png")
    with pytest.raises(ConfigError) as caught:
        train_until(run, 2)
    message = str(caught.value)
    assert f"dataset = 'folder:{images}': it has changed since the run began: " in message
    assert f": 10 images added ({images}/a/new000.png, " in message
    assert f"; 1 image removed ({images}/b/003.png)" in message
    assert f"; 1 image changed ({images}/b/004.png)" in message
    assert run.result() is None
    # brought back, but for the times and the order of writing, it is the same again
    for number in range(10):
        (images / "a" / f"new{number:03}.png").unlink()
    add(images / "b", range(20))
    start_cold()
    assert train_until(run, 3)[-1]["epoch"] == 2
    result = run.result() or {}
    assert result["data_digest"] == known["data"]
    assert result["libraries"].startswith("torch ")


def test_what_is_counted_where_the_decoded_images_are_gone(
    tmp_path: Path, images: Path, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", config_of(images))
    train_until(run, 1, last_epoch=0)
    grow(images)
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path / "another machine"))
    with pytest.raises(ConfigError, match="began: 'a' 20 images then, 30 now; bring back"):
        train_until(run, 2)


def test_trials_of_a_sweep_share_their_data(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    """Seeds that come later, too; a warm worker goes on with the data that it has read."""
    sweep, configs = tmp_path / "sweep", [config_of(images, seed=seed) for seed in range(3)]
    write_json(sweep / "sweep.json", {"cut": "content"})
    runs = [Run.create(sweep / config.id, config) for config in configs]
    train_until(runs[0])
    add(images / "a", range(10), "new")
    train_until(runs[1])
    states = [(run.result() or {})["data_digest"] for run in runs[:2]]
    assert states[0] == states[1]
    start_cold()
    problem = "it has changed since the sweep began: 10 images added"
    with pytest.raises(ConfigError, match=problem) as caught:
        train_until(runs[2])
    assert "start another sweep with --name" in str(caught.value)
    before = sorted(path for path in sweep.rglob("*"))
    (found,) = check(Attempt(Run(sweep / configs[2].id), configs[2]))["problems"]
    assert problem in found
    assert sorted(path for path in sweep.rglob("*")) == before  # a check writes nothing
    alone = Run.create(tmp_path / "alone", configs[2])
    train_until(alone)
    assert (alone.result() or {})["data_digest"] != states[0]


def test_old_sweeps_and_runs_keep_their_cuts_and_go_on(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    """What they are cut by is what scikit-learn draws, from the images in their order."""
    config = config_of(images)
    write_json(tmp_path / "sweep" / "sweep.json", {"name": "of an earlier version"})
    run = Run.create(tmp_path / "sweep" / config.id, config)
    train_until(run, test=True)
    labels = np.repeat([0, 1], 20)
    draw = np.random.RandomState(np.random.MT19937(0))
    _, expected = train_test_split(np.arange(40), test_size=0.2, stratify=labels, random_state=draw)
    with np.load(run.predictions_path("test")) as stored:
        assert stored["index"].tolist() == sorted(expected)
    begun = Run.create(tmp_path / "begun", config)
    write_json(begun.inputs_path, json.loads(run.inputs_path.read_text()))
    train_until(begun, 1, last_epoch=1)
    as_an_earlier_version_leaves(begun)
    train_until(begun, 2, test=True)
    results = [one.result() or {} for one in (run, begun)]
    assert results[0]["test_loss"] == results[1]["test_loss"]


def test_what_starts_from_an_old_run_is_not_tested_on_what_that_has_trained_on(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    old = Run.create(tmp_path / "old", config_of(images))
    train_until(old)
    known = json.loads(old.inputs_path.read_text())
    write_json(old.inputs_path, known | {"cut": "position"})
    child = config_of(images, weights=str(old.path))
    assert record.cut_of(Run(tmp_path / "child"), child) == "position"
    add(tmp_path / "other" / "a", range(3))
    elsewhere = config_of(tmp_path / "other", weights=str(old.path))
    assert record.cut_of(Run(tmp_path / "child"), elsewhere) == "content"


def test_what_a_run_started_from_may_be_gone_when_it_has_begun(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    first = Run.create(tmp_path / "first", config_of(images))
    train_until(first)
    weights = tmp_path / "weights.safetensors"
    shutil.copy(first.weights_path, weights)
    second = Run.create(tmp_path / "second", config_of(images, weights=str(weights)))
    train_until(second, 1, last_epoch=1)
    kept = weights.rename(tmp_path / "kept")
    start_cold()
    child = ModelSource.of(config_of(images, weights=str(second.path)))
    assert (child.recipe, child.run and child.run.name) == (None, "second")
    assert recorded(second) == (None, 8)
    kept.rename(weights)
    train_until(second, 2, test=True)
    weights.unlink()
    start_cold()
    assert (
        evaluate_run(second, World())["test_accuracy"] == (second.result() or {})["test_accuracy"]
    )


def test_an_old_run_is_refused_where_its_parts_have_other_sizes(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    run = Run.create(tmp_path / "run", config_of(images))
    train_until(run, 1, last_epoch=1)
    as_an_earlier_version_leaves(run)
    grow(images)
    with pytest.raises(ConfigError, match="began: train images 28 then, 36 now, test images"):
        train_until(run, 2)


def test_another_file_of_weights_is_refused(tmp_path: Path, train_until: TrainUntil) -> None:
    fields = {"classes": "3", "model": "mlp", "dense_width": [4], "epochs": 2}
    source = Run.create(tmp_path / "source", TrainConfig.from_dict(fields))
    train_until(source)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(source.weights_path.read_bytes())
    config = TrainConfig.from_dict({**fields, "weights": str(file), "seed": 1})
    run = Run.create(tmp_path / "run", config)
    train_until(run, 1, last_epoch=1)
    digest = json.loads(run.inputs_path.read_text())["weights"]["sha256"]
    state = {name: tensor + 1 for name, tensor in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(state, file)
    with pytest.raises(ConfigError, match=f"the run began with .*SHA-256 {digest[:12]}…, and now"):
        train_until(run, 2)
    file.write_bytes(source.weights_path.read_bytes())
    train_until(run, 3)
    assert (run.result() or {})["weights_digest"] == digest


def test_other_versions_are_said_and_not_refused(
    tmp_path: Path, images: Path, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", config_of(images))
    train_until(run, 1, last_epoch=0)
    # stands in for another installation
    monkeypatch.setattr(record, "versions", lambda: {"torch": "99.1.0", "timm": "0.0.1"})
    first = train_until(run, 2)[0]
    short = ".".join(torch.__version__.split(".")[:2])
    assert f"the run began with torch {short}, now 99.1" in first["notice"]


@pytest.mark.parametrize("augmentation", [(), ("horizontal_flip",)])
def test_other_draws_of_an_augmentation_are_said(
    augmentation: tuple[str, ...], tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    run = Run.create(tmp_path / "run", config_of(images, augmentation=augmentation))
    train_until(run, 1, last_epoch=0)
    assert "notice" not in train_until(run, 2, last_epoch=0)[0]
    known = json.loads(run.inputs_path.read_bytes())
    assert ("draws" in known) == bool(augmentation)
    (path,) = run.checkpoints()
    state = checkpoint.read(path)
    state["inputs"].pop("draws", None)  # as an earlier version wrote it
    torch.save(state, Path(path).with_suffix(".new"))
    Path(path).with_suffix(".new").rename(path)
    first = train_until(run, 3)[0]
    told = "the run began with version 1 of the random numbers of augmentation, now 2"
    assert first.get("notice") == (told if augmentation else None)


def test_other_images_are_not_evaluated_as_the_runs_own(
    tmp_path: Path, images: Path, train_until: TrainUntil
) -> None:
    run = Run.create(tmp_path / "run", config_of(images))
    train_until(run, test=True)
    kept = run.predictions_path("test").read_bytes()
    grow(images)
    for forget in (False, True):
        if forget:  # a run of an earlier version has its sizes alone
            run.inputs_path.unlink()
        with pytest.raises(ConfigError, match="it has changed since the run began: "):
            evaluate_run(run, World())
        assert run.predictions_path("test").read_bytes() == kept


def test_weights_that_have_seen_what_a_fold_is_tested_on_are_refused(
    new_run: Callable[..., Run], train_until: TrainUntil
) -> None:
    train_until(new_run("whole", epochs=1))
    train_until(new_run("first", epochs=1, folds=3))
    for name, fields, message in (
        ("whole", {"folds": 3, "fold": 1}, "was tested on the test images without folds"),
        ("first", {"folds": 3, "fold": 1}, "was tested on fold 0 of 3, and has trained on"),
        ("first", {}, "images of the test images without folds, which this one is tested on"),
    ):
        run = new_run(f"from-{name}-{len(fields)}", weights=f"run:{name}", **fields)
        (problem,) = check(Attempt.at(run))["problems"]
        assert message in problem
    assert not check(Attempt.at(new_run("same", weights="run:first", folds=3)))["problems"]
