"""Who is charged for features, and what a trial takes alone."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.freezing import feature_cache
from fieldtrial.training.loop.attempt import Attempt

TrainUntil = Callable[..., list[Record]]
FROZEN: dict[str, Any] = {"model": "cnn", "filters": [4], "freeze": "first:2", "batch_size": 50}


@pytest.fixture(autouse=True)
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of this test's features; the decoded images are those of all tests."""
    folder = tmp_path / "stores" / "features"
    monkeypatch.setattr(feature_cache, "store_root", lambda: folder.parent)
    return folder


def test_features_are_charged_to_the_trial_that_computes_them(
    new_run: Callable[..., Run], train_until: TrainUntil, features: Path
) -> None:
    first, second = (new_run(name, **FROZEN, lr=lr) for name, lr in (("1", 0.1), ("2", 0.2)))
    began = time.monotonic()
    train_until(first)
    whole = time.monotonic() - began
    train_until(second)
    (file,) = features.glob("*.json")
    cost = json.loads(file.read_bytes())["seconds"]
    paid, spared = first.result() or {}, second.result() or {}
    assert cost / 3600 <= paid["features_device_hours"]
    assert 60 * paid["epoch_minutes"] + cost <= 60 * paid["minutes"] <= whole
    assert "features_device_hours" not in spared
    for one in (paid, spared):  # alone, each takes as long as if it had computed them
        assert 60 * one["epoch_minutes"] + cost <= 60 * one["minutes_alone"]
    (row, *_) = second.records()
    assert row["alone_seconds"] - row["held_seconds"] < cost, "a look at the file took some time"
    file.unlink()  # as an older version leaves them
    third = new_run("3", **FROZEN, lr=0.3)
    train_until(third)
    assert "minutes_alone" not in (third.result() or {})


def test_alone_a_trial_has_no_restart(new_run: Callable[..., Run], train_until: TrainUntil) -> None:
    run = new_run("run", **FROZEN)
    (*_, last) = train_until(run, last_epoch=1)
    failed = run.environment()["1"]["held_seconds"]
    assert failed > last["held_seconds"]
    began = DeviceClock(start=10_000.0)  # the second attempt's worker was slow to start
    again, *_, end = train(Attempt.at(run, number=2, clock=began))
    assert (again["epoch"], end["epoch"]) == (1, 3)
    assert end["held_seconds"] > again["held_seconds"] > 10_000 > end["alone_seconds"]
    result = run.result() or {}
    assert 60 * result["minutes"] > failed + end["held_seconds"]
    assert 60 * result["minutes_alone"] < 10_000
