"""The feature cache: training on features gives the same results."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing import feature_cache as frozen_features
from fieldtrial.training.freezing.feature_cache import FeatureData, FeatureSource, with_features
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.models.network import FeatureNetwork

TrainUntil = Callable[..., list[Record]]
KEPT = FeatureSource.kept
# Nothing in the tail multiplies rounding: no batch normalisation, no corners.
FROZEN: dict[str, Any] = {
    "model": "cnn",
    "filters": [4],
    "batch_norm": False,
    "activation": "tanh",
    "freeze": "first:2",
    "dropout": 0.3,
    "batch_size": 50,
}


@pytest.fixture(autouse=True)
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of this test's features; the decoded images are those of all tests."""
    folder = tmp_path / "stores" / "features"
    monkeypatch.setattr(frozen_features, "store_root", lambda: folder.parent)
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"precision": "bf16", "freeze": "all_but_head"},
        {"freeze": "only:head"},
        {"sampling": "balanced", "class_weights": "balanced", "ema_decay": 0.9},
    ],
)
def test_training_on_features_comes_to_the_same(
    new_run: Callable[..., Run],
    train_until: TrainUntil,
    features: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
) -> None:
    runs = [new_run(name, **FROZEN | fields) for name in ("cached", "plain")]
    cached = train_until(runs[0], test=True)
    assert (
        len(list(features.glob("*.npy"))) == 2
    )  # those of the test images are a file of their own
    monkeypatch.setenv("FIELDTRIAL_FEATURES", "off")
    features.rename(features.with_name("kept"))
    plain = train_until(runs[1], test=True)
    assert not features.exists()
    for one, other in zip(cached, plain, strict=True):
        for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy"):
            assert one[name] == pytest.approx(other[name], abs=1e-5), name
    for split in ("validation", "test"):
        with (
            np.load(runs[0].predictions_path(split)) as own,
            np.load(runs[1].predictions_path(split)) as others,
        ):
            assert (own["index"] == others["index"]).all()
            assert (own["label"] == others["label"]).all()
            assert own["log_probability"] == pytest.approx(others["log_probability"], abs=1e-5)


def test_a_search_computes_no_features_of_test_images_and_no_images_twice(
    new_run: Callable[..., Run],
    train_until: TrainUntil,
    features: Path,
    batch_sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_until(new_run("first", **FROZEN))
    assert len(list(features.glob("*.npy"))) == 1
    assert not batch_sizes, "the whole network has seen images after they were cached"
    train_until(new_run("tested", **FROZEN, seed=0, lr=0.1), test=True)
    assert len(list(features.glob("*.npy"))) == 2
    assert not batch_sizes
    monkeypatch.setattr(FeatureSource, "kept", _not_of_the_test_images)
    train_until(new_run("no room", **FROZEN, lr=0.2), test=True)
    assert sum(batch_sizes) == 107  # test images alone go through the whole network


def _not_of_the_test_images(source: FeatureSource, chosen: np.ndarray, clock: Any) -> Any:
    return None if len(chosen) == len(source.data.test) else KEPT(source, chosen, clock)


def test_the_switch_is_on_or_off(
    new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_FEATURES", "never")
    with pytest.raises(ValueError, match="FIELDTRIAL_FEATURES = 'never': must be on or off"):
        next(Fit(Attempt.at(new_run(**FROZEN))).records())


def test_trials_share_features_where_nothing_differs_that_they_are_made_of(
    new_run: Callable[..., Run], features: Path
) -> None:
    def look(**fields: Any) -> set[str]:
        config = TrainConfig.from_dict(FROZEN | {"classes": "3", "epochs": 1} | fields)
        data, network = open_trial(config, new_run(f"run{len(list(features.parent.glob('*')))}"))
        tail, features_data = with_features(network, data, config, World())
        assert isinstance(tail, FeatureNetwork)
        assert isinstance(features_data, FeatureData)
        return {path.name for path in features.glob("*.npy")}

    first = look()
    assert len(first) == 1
    assert look(lr=0.5, optimizer="sgd", dropout=0.0, batch_size=7, label_smoothing=0.1) == first
    assert (
        look(validation_fraction=0.3) == first
    )  # other images validate, and they are the same together
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"classes": "4"},
        {"freeze": "first:1"},
        {"precision": "bf16"},
    ]
    others += [
        {"activation": "relu"},
        {"batch_norm": True},
        {"batch_norm": True, "batch_norm_after": "pool"},
    ]
    for number, fields in enumerate([*others, {"train_fraction": 0.5}], start=2):
        assert len(look(**fields)) == number
    in_folds = look(folds=3)
    assert len(in_folds) == number + 1
    assert look(folds=3, fold=2) == look(folds=5, fold=4) == in_folds


def test_augmented_and_unfrozen_images_have_no_features(
    new_run: Callable[..., Run], features: Path
) -> None:
    shown: list[dict[str, Any]] = [{"augmentation": ["rotation"]}, {"freeze": "none"}]
    shown += [{"mixup": 0.2}, {"cutmix": 1.0}, {"test_flips": True}]
    for number, fields in enumerate(shown):
        run = new_run(f"run{number}", **FROZEN | fields)
        data, network = open_trial(run.config(), run)
        assert with_features(network, data, run.config(), World()) == (network, data)
    assert not features.exists()


def test_features_too_large_or_without_room_are_done_without(
    new_run: Callable[..., Run],
    train_until: TrainUntil,
    features: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(frozen_features, "MOST_BYTES", 1000)
        train_until(new_run("large", **FROZEN), last_epoch=1)
    assert not list(features.glob("*.npy"))
    assert not caplog.records
    monkeypatch.setattr(os, "posix_fallocate", full)
    train_until(new_run("full", **FROZEN), last_epoch=1)
    assert not [path for path in features.iterdir() if path.suffix != ".lock"]
    assert "computed in each epoch: [Errno 28] No space left on device" in caplog.text


def test_features_that_would_take_too_long_are_done_without(
    new_run: Callable[..., Run],
    features: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(frozen_features, "ESTIMATE_SECONDS", 0)
    monkeypatch.setattr(frozen_features, "MOST_SECONDS", 0)
    run = new_run(**FROZEN)
    data, network = open_trial(run.config(), run)
    assert with_features(network, data, run.config(), World()) == (network, data)
    assert not [path for path in features.iterdir() if path.suffix != ".lock"]
    assert "computed in each epoch: filling the feature cache would take" in caplog.text


def test_damaged_features_are_computed_anew_and_others_are_used_as_they_are(
    new_run: Callable[..., Run], features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> np.ndarray:
        run = new_run(f"run{len(list(features.parent.parent.iterdir()))}", **FROZEN)
        data, network = open_trial(run.config(), run)
        return np.array(with_features(network, data, run.config(), World())[1].images)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    whole = look()
    (path,) = features.glob("*.npy")
    os.truncate(path, path.stat().st_size // 2)
    assert (look() == whole).all()
    with monkeypatch.context() as patch:  # a folder in which another user has put them
        patch.setattr(frozen_features, "FileLock", refused)
        patch.setattr(os, "utime", refused)
        assert (look() == whole).all()


@pytest.mark.parametrize(
    ("layout", "format_"),
    [("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)],
)
def test_features_lie_in_memory_as_the_layers_behind_take_them(
    layout: str,
    format_: torch.memory_format,
    new_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIELDTRIAL_MEMORY_FORMAT", layout)
    run = new_run(**FROZEN)
    data, network = open_trial(run.config(), run)
    tail, features = with_features(network, data, run.config(), World())
    assert isinstance(features, FeatureData)
    chosen = features.validation[[3, 1, 4]]
    taken = torch.from_numpy(features.take(chosen))
    assert taken.shape[1:] == (4, 2, 2)
    assert taken.is_contiguous(memory_format=format_)
    images = torch.from_numpy(data.take(features.positions(chosen)))
    network.eval()
    expected = features.source.point.prefix.run(network.normalise(images))
    torch.testing.assert_close(taken, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(tail.eval()(taken), network(images), rtol=0, atol=1e-5)


def test_what_killed_processes_had_begun_goes(new_run: Callable[..., Run], features: Path) -> None:
    features.mkdir(parents=True)
    penultimate = features.with_name(frozen_features.PENULTIMATE)
    penultimate.mkdir()
    (penultimate / "killed.building").write_bytes(bytes(1000))
    for name in ("killed", "busy"):
        (features / f"{name}.building").write_bytes(bytes(1000))
    run = new_run(**FROZEN)
    data, network = open_trial(run.config(), run)
    with FileLock(features / "busy.npy.lock"):
        with_features(network, data, run.config(), World())
    assert [path.name for path in features.glob("*.building")] == ["busy.building"]
    assert list(penultimate.iterdir()) == [penultimate / "killed.npy.lock"]


def test_what_has_been_unused_for_longest_makes_room(
    new_run: Callable[..., Run], features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features.mkdir(parents=True)
    for age, name in enumerate(["new", "old", "older"]):
        np.save(features / f"{name}.npy", np.zeros(100_000, np.uint8))
        os.utime(features / f"{name}.npy", (0, 1000 - age))
    run = new_run(**FROZEN)
    data, network = open_trial(run.config(), run)
    size = (len(data.train) + len(data.validation)) * 4 * 2 * 2 * 4
    monkeypatch.setattr(frozen_features, "MOST_BYTES_TOGETHER", size + 150_000)
    with_features(network, data, run.config(), World())
    names = {path.stem for path in features.glob("*.npy")}
    assert len(names) == 2
    assert "new" in names
