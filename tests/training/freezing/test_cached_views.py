"""Cached views: features of augmented images, one an epoch, and no image is looked at again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing import cached_views, feature_cache
from fieldtrial.training.freezing.cached_views import ViewData, ViewSource, with_views
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import augmented, batches, crops
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.models.network import Network
from tests.training.photos import cut

PROBE: dict[str, Any] = {
    "model": "cnn",
    "filters": [4],
    "blocks": 2,
    "batch_norm": False,
    "activation": "tanh",
    "freeze": "all_but_head",
    "augmentation": ["crop", "color_jitter"],
    "images_per_class": 6,
    "batch_size": 16,
    "cached_views": 3,
    "epochs": 3,
}


@pytest.fixture(autouse=True)
def _own_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path / "stores"))


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """A data set of photos that are no squares."""
    for number in range(24):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cut(number, 40, 56)).save(path)
    return f"folder:{tmp_path / 'photos'}"


def views_of(tmp_path: Path, **values: object) -> tuple[TrainConfig, Network, ViewData]:
    config = TrainConfig.from_dict(PROBE | values)
    data, network = open_trial(config, Run.create(tmp_path / "opened", config))
    featured, views = with_views(network, data, config, World())
    assert isinstance(views, ViewData)
    return config, featured, views


def records_of(path: Path, **values: object) -> list[Record]:
    config = TrainConfig.from_dict(PROBE | values)
    return list(Fit(Attempt(Run.create(path, config), config)).records())


def test_views_are_the_features_of_augmented_images(tmp_path: Path, photos: str) -> None:
    changes = ["random_resized_crop", "horizontal_flip", "color_jitter"]
    config, featured, data = views_of(
        tmp_path, dataset=photos, image_size=24, augmentation=changes, validation_fraction=0.3
    )
    source = data.source
    assert source.data.originals is not None
    chosen = source.data.train
    whole, seen = source.network.eval(), []
    for number, view in enumerate(data.views):
        parts = (source.network, source.point, source.data, source.world, source.sample)
        images = ViewSource(*parts, config, number, 0.0).images(chosen, 0)
        assert images.shape == (len(chosen), 3, 24, 24)
        seen.append(images)
        with torch.no_grad():
            expected = whole(images)
            found = featured.eval()(torch.from_numpy(np.array(view)))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    # each view and each image is augmented in its own way
    assert all((seen[0] - other).abs().mean() > 0.02 for other in seen[1:])


def test_an_image_shows_all_of_its_views_one_an_epoch(tmp_path: Path) -> None:
    config, _, data = views_of(tmp_path)
    epochs = [data.seen(data.train, epoch) for epoch in range(1, 7)]
    for place in range(len(data.train)):
        shown = [next(n for n in range(3) if (one[place] == data.views[n][place]).all())
                 for one in epochs]  # fmt: skip
        assert sorted(shown[:3]) == [0, 1, 2]
        assert shown[3:] == shown[:3]
    assert len({int(first) for first in data.first}) == 3  # not all images show the same one
    # batches get these, in their order, and are not augmented again
    order = data.train[::-1]
    steps = -(-len(order) // 16)
    draw = crops(data, config, steps, 0)  # of the second epoch
    found = []
    for batch in batches(data, order, 16, World(), draw):
        assert augmented(batch, config, data, 0, 0) is batch
        found.append(batch.images[: batch.count])
    assert np.array_equal(torch.cat(found).numpy(), epochs[0][::-1])


def test_a_trial_repeats_itself_and_computes_views_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = records_of(tmp_path / "first")

    def refuse(*_: object) -> None:
        raise AssertionError("an image goes through the frozen layers again")

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "_build", refuse)
        again = records_of(tmp_path / "again", lr=0.5)  # which the features do not depend on
        same = records_of(tmp_path / "same")
    names = ("train_loss", "validation_loss")
    assert [[one[name] for name in names] for one in first] == [
        [one[name] for name in names] for one in same
    ]
    assert first[-1]["train_loss"] != again[-1]["train_loss"]
    other = records_of(tmp_path / "other", seed=1, validation_fraction=0.1)
    assert first[-1]["train_loss"] != other[-1]["train_loss"]


def test_new_views_and_kept_ones_agree_where_all_are_alike(tmp_path: Path) -> None:
    """Images that a flip does not change: kept or drawn anew, training sees the same."""
    for number in range(24):
        path = tmp_path / "even" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        half = cut(number, 16, 8)
        Image.fromarray(np.concatenate([half, half[:, ::-1]], 1)).save(path)
    values = {
        "dataset": f"folder:{tmp_path / 'even'}", "image_size": 16, "images_per_class": None,
        "augmentation": ["horizontal_flip"], "validation_fraction": 0.3,
    }  # fmt: skip
    kept = records_of(tmp_path / "kept", **values)
    new = records_of(tmp_path / "new", **values | {"cached_views": 0})
    for name in ("train_loss", "validation_loss"):
        ours, theirs = ([one[name] for one in records] for records in (kept, new))
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert abs(kept[0]["train_loss"] - kept[-1]["train_loss"]) > 1e-3  # something is learned


@pytest.mark.parametrize("values", [{"freeze": "none"}, {"augmentation": []}])
def test_without_frozen_layers_or_augmentation_there_are_no_views(
    tmp_path: Path, values: dict[str, object]
) -> None:
    config = TrainConfig.from_dict(PROBE | values)
    data, network = open_trial(config, Run.create(tmp_path / "opened", config))
    assert with_views(network, data, config, World()) == (network, data)


def test_views_that_cannot_be_kept_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "MOST_BYTES", 10)
    with pytest.raises(ConfigError, match=r"cached_views = 3: .* cannot be kept.* set .* to 0"):
        records_of(tmp_path / "run")


def test_views_have_one_limit_of_time_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a while that is within the limit, and all of them are not."""
    clock = [0.0]
    monkeypatch.setattr(feature_cache, "MOST_SECONDS", 1000.0)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    images, computed = ViewSource.images, []

    def slowly(source: ViewSource, *chosen: Any) -> torch.Tensor:
        clock[0] += 450
        computed.append(source.number)
        return images(source, *chosen)

    monkeypatch.setattr(ViewSource, "images", slowly)
    with pytest.raises(ConfigError, match="the views together take more"):
        views_of(tmp_path)
    assert computed == [0]  # which is enough to see it
    views_of(tmp_path / "two", cached_views=2)


def test_views_have_one_limit_of_room_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _, data = views_of(tmp_path)
    whole = data.images.nbytes + 3 * data.views[0].nbytes
    monkeypatch.setattr(cached_views, "MOST_BYTES_TOGETHER", whole)
    views_of(tmp_path / "fits")
    monkeypatch.setattr(cached_views, "MOST_BYTES_TOGETHER", whole - 1)
    with pytest.raises(ConfigError, match=r"the views together take more"):
        views_of(tmp_path / "large")
    # a trial has at most one view an epoch
    views_of(tmp_path / "short", epochs=2)
    problems = check(Attempt.at(Run.create(tmp_path / "checked", config)))["problems"]
    assert problems[0].startswith("cached_views = 3: the frozen layers' features cannot be kept")


@pytest.mark.parametrize("where", ["features", "zero3"])
def test_the_check_before_a_sweep_refuses_views_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    strategy = "zero3" if where == "zero3" else "ddp"
    config = TrainConfig.from_dict(PROBE | {"strategy": strategy})
    run = Run.create(tmp_path / "run", config)
    assert check(Attempt.at(run))["problems"] == []
    if where == "features":
        monkeypatch.setenv("FIELDTRIAL_FEATURES", "off")
    world = World(size=1 if where == "features" else 2)
    (problem,) = check(Attempt.at(run, world))["problems"]
    assert "cached_views = 3" in problem
