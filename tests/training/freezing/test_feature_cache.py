"""The feature cache: freeze points, and training on features gives the same results."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing import feature_cache as frozen_features
from fieldtrial.training.freezing.feature_cache import FeatureData, FeatureSource, with_features
from fieldtrial.training.freezing.freeze_point import find_freeze_point
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.models.network import FeatureNetwork, Network
from tests.training.networks import network_for

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


def network_of(model: str, scheme: str, size: int = 64) -> Network:
    config = TrainConfig(model=model, filters=(8,), dense_width=(16, 8))
    network = network_for(config, size, channels=3, classes=10)
    freeze(network, scheme)
    return network


@pytest.mark.parametrize(
    ("model", "scheme", "shape"),
    [
        ("cnn", "all_but_head", (8,)),
        ("cnn", "first:2", (8, 16, 16)),
        ("torchvision:resnet18", "all_but_head", (512,)),
        ("torchvision:resnet18", "all_but_last:2", (512, 2, 2)),
        ("torchvision:resnet18", "only:layer4", (256, 4, 4)),
        ("torchvision:squeezenet1_1", "all_but_head", (512, 3, 3)),
        ("torchvision:vgg11", "all_but_last:2", (4096,)),
        ("torchvision:densenet121", "all_but_head", (1024,)),
        ("torchvision:inception_v3", "all_but_head", (2048, 1, 1)),
        ("torchvision:vit_b_32", "first:3", (5, 768)),
        ("timm:vit_tiny_patch16_224", "all_but_head", (192,)),
    ],
)
def test_the_two_parts_make_what_the_whole_makes(
    model: str, scheme: str, shape: tuple[int, ...]
) -> None:
    network = network_of(model, scheme, 299 if "inception" in model else 64)
    point = find_freeze_point(network)
    assert point
    images = torch.rand(2, 3, network.image_size, network.image_size)
    with torch.no_grad():
        made = point.prefix.run(network.normalise(images))
    assert made.shape == (2, *shape)
    assert all(
        not network.model.get_parameter(name).requires_grad
        for name in _parameters(network, point.cut.tensors)
    )
    for training in (True, False):
        network.train(training)
        torch.manual_seed(1)  # of dropout in the tail
        whole = network(images)
        torch.manual_seed(1)
        torch.testing.assert_close(point.tail.run(made.clone()), whole, rtol=0, atol=1e-5)


def _parameters(network: Network, names: tuple[str, ...]) -> set[str]:
    return {name for name, _ in network.model.named_parameters()} & set(names)


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ("torchvision:resnet18", "none"),
        ("torchvision:resnet18", "only:batch_norm"),  # the second layer trains
        ("torchvision:resnet18", "pattern:layer"),  # and here the first
        (
            "torchvision:densenet121",
            "first:8",
        ),  # a dense block's later layers look at all of its earlier ones
    ],
)
def test_where_there_is_no_freeze_point(model: str, scheme: str) -> None:
    assert find_freeze_point(network_of(model, scheme)) is None


class ModeDependent(nn.Module):
    """Two layers, and what its code does in between depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.first(images.mean(1)[:, 0, :4])
        return self.fc(nn.functional.dropout(features, 0.5, self.training))  # type: ignore[no-any-return]


class ValueDependent(ModeDependent):
    """One whose code looks at the numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else -images)


@pytest.mark.parametrize("model", [ModeDependent, ValueDependent])
def test_code_that_changes_with_the_mode_or_the_numbers_is_not_cut(model: type[nn.Module]) -> None:
    network = Network(model(), "fc", 8, (0.5,) * 3, (0.5,) * 3)
    freeze(network, "all_but_head")
    assert find_freeze_point(network) is None


def test_a_network_of_features_shares_state_and_logits_with_the_whole() -> None:
    network = network_of("cnn", "first:2")
    point = find_freeze_point(network)
    assert point
    images = torch.randint(256, (3, 64, 64, 3), dtype=torch.uint8)
    features = point.prefix.run(network.normalise(images)).detach()
    tail = FeatureNetwork(network, point.tail.run, point.cut.tail_modules, features[:1])
    own, whole = tail.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
    assert list(own) == list(whole)
    assert all(tensor is whole[name] for name, tensor in own.items())
    torch.testing.assert_close(tail.eval()(features), network.eval()(images), rtol=0, atol=1e-6)
    assert not any(tail.train().model.get_submodule(name).training for name in network.held)
    assert tail(tail.blank()).shape == network(network.blank()).shape == (1, 10)


TrainUntil = Callable[..., list[Record]]
KEPT = FeatureSource.kept


@pytest.mark.parametrize(
    "fields", [{}, {"precision": "bf16", "freeze": "all_but_head"}, {"freeze": "only:head"}]
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


def test_augmented_and_unfrozen_images_have_no_features(
    new_run: Callable[..., Run], features: Path
) -> None:
    shown: list[dict[str, Any]] = [{"augmentation": ["rotation"]}, {"freeze": "none"}]
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
