"""The check of a sweep's rows: its progress, its errors, and the bound on the sweep's cost."""

import sys
from dataclasses import replace
from typing import Any

import pytest
from ray import tune

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.driver import preflight
from fieldtrial.control.driver.preflight import (
    EPOCH_SECONDS,
    KEPT_STEP_SECONDS,
    PARAMETER_SECONDS,
    STEP_SECONDS,
    TRIAL_SECONDS,
    Preflight,
    Size,
    SweepSizes,
    trial_hours,
)
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.sweep import Sweep

SWEEP = Sweep(base=TrainConfig(model="mlp"), rows=[{}])
DETECTION = TrainConfig(
    task="detection", dataset="shapes", model="darknet:yolov3-tiny", select="validation_map"
)
DETECTION_SWEEP = Sweep(base=DETECTION, rows=[{}], select="validation_map")
DOWNLOADING = """
import json, os, sys
print("chatter", file=sys.stderr)
os.write(int(os.environ["FIELDTRIAL_PROGRESS"]), b"x.zip: 1 of 4 MB\\n")
print(json.dumps([{"problems": ["no such thing"]} for _ in json.load(sys.stdin)]))
"""


@pytest.mark.parametrize("sweep", [SWEEP, DETECTION_SWEEP])
def test_progress_is_shown_while_it_looks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sweep: Sweep
) -> None:
    monkeypatch.setattr(preflight, "COMMAND", [sys.executable, "-c", DOWNLOADING])
    with (
        Preflight(sweep, 1, False) as looking,
        pytest.raises(ConfigError, match=r"^sweep: no such thing$"),
    ):
        looking.result()
    assert capfd.readouterr() == ("", "x.zip: 1 of 4 MB\n")


def test_a_crash_is_told_with_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        preflight, "COMMAND", [sys.executable, "-c", "raise SystemExit('the reason')"]
    )
    with (
        Preflight(SWEEP, 1, False) as looking,
        pytest.raises(RuntimeError, match="the check of the rows failed:\nthe reason"),
    ):
        looking.result()


def known(looking: Preflight) -> SweepSizes:
    sizes = looking.result()
    assert sizes
    return sizes


SMALL = Size(
    parameters=100, trainable_parameters=100, tensors=4, flops=10**6, classes=2,
    train_images=100, validation_images=10,
    test_images=50, tail_flops=10**6, tail_tensors=4, fits_cache=False,
)  # fmt: skip
ENDLESS = 1e12  # teraflops: what is left is what there is beside operations


def hours(sweep: Sweep, teraflops: float, size: Size = SMALL) -> float:
    """Return the hours at most of the only row of `sweep`."""
    (found,), sources = trial_hours(sweep, SweepSizes([size], [size], {}), teraflops, workers=2)
    assert sources == 0
    return found


def test_what_a_small_model_costs_beside_its_operations() -> None:
    sweep = Sweep(base=TrainConfig(epochs=2, batch_size=16), rows=[{}], seeds=1)
    batches = (
        2 * 7 + 5
    )  # of training; of validation before, after each epoch, at the end, and as many of training
    trial = 4 * (batches * STEP_SECONDS + TRIAL_SECONDS) + 3 * (
        EPOCH_SECONDS + 100 * PARAMETER_SECONDS
    )
    assert hours(sweep, ENDLESS) * 3600 == pytest.approx(2 * trial)
    images = (
        2 * (2 * 3 * 100 + 5 * 10) + 50
    )  # updates cost three passes; one of two trials is tested
    assert hours(sweep, 1e-6) * 3600 == pytest.approx(2 * trial + images)


FROZEN = replace(
    SMALL, parameters=1000, tail_flops=10**4, tail_tensors=2, tensors=40, fits_cache=True
)


def test_kept_features_of_frozen_layers_cost_once_for_each_worker() -> None:
    sweep = Sweep(
        base=TrainConfig(epochs=2, batch_size=16, freeze="all_but_head"), rows=[{}], seeds=1
    )
    tail, frozen = 0.01, 0.99  # of an image's 10**6 operations; a second of 1e-6 teraflops each
    trial = 2 * 3 * 100 * tail + 4 * 10 * tail + 10
    features = 2 * 110 * frozen  # of two workers
    assert operations(sweep, FROZEN) == pytest.approx(2 * trial + features + 50, rel=1e-6)
    numbers = (1000 + 2 * 100) / 3
    overhead = (2 * 7 + 4) * (2 * STEP_SECONDS + KEPT_STEP_SECONDS)
    overhead += 40 * STEP_SECONDS + 40 * TRIAL_SECONDS
    overhead += 3 * (EPOCH_SECONDS + numbers * PARAMETER_SECONDS)
    assert hours(sweep, ENDLESS, FROZEN) * 3600 == pytest.approx(2 * overhead)


@pytest.mark.parametrize(("given", "views"), [(1, 1), (8, 2)])
def test_cached_views_cost_each_trial_one_an_epoch_at_most(given: int, views: int) -> None:
    kept = TrainConfig(epochs=2, batch_size=16, freeze="all_but_head")
    changed = replace(kept, augmentation=("crop",), cached_views=given)
    before, after = (Sweep(base=base, rows=[{}], seeds=1) for base in (kept, changed))
    more = operations(after, FROZEN) - operations(before, FROZEN)
    assert more == pytest.approx(2 * views * 100 * 0.99, rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"augmentation": ("crop",)},
        {"strategy": "zero3"},
        {"mixup": 0.2},
        {"augmentation": ("crop",), "cached_views": 2, "cutmix": 1.0},
    ],
)
def test_frozen_layers_that_cannot_be_kept_are_computed_in_each_epoch(
    changes: dict[str, Any],
) -> None:
    base = TrainConfig(epochs=2, batch_size=16, freeze="all_but_head", **changes)
    sweep = Sweep(base=base, rows=[{}], seeds=1)
    # forward through all, backward twice through what trains
    trial = 2 * 100 * (0.99 + 3 * 0.01) + 5 * 10
    assert operations(sweep, FROZEN) == pytest.approx(2 * trial + 50, rel=1e-6)


def test_mirror_images_cost_each_evaluation_once_more() -> None:
    base = TrainConfig(epochs=2, batch_size=16, freeze="all_but_head", test_flips=True)
    trial = 2 * 100 * (0.99 + 3 * 0.01) + 2 * 5 * 10
    sweep = Sweep(base=base, rows=[{}], seeds=1)
    assert operations(sweep, FROZEN) == pytest.approx(2 * trial + 2 * 50, rel=1e-6)


def test_nothing_counts_as_frozen_where_the_search_decides_it() -> None:
    base = TrainConfig(epochs=2, batch_size=16, freeze="all_but_head")
    searched = {"freeze": tune.choice(["none", "all_but_head"])}
    sweep = Sweep(base=base, rows=[{}], search=searched, trials=1, seeds=1)
    assert operations(sweep, FROZEN) == pytest.approx(2 * (2 * 3 * 100 + 5 * 10) + 50, rel=1e-6)


def operations(sweep: Sweep, size: Size) -> float:
    """Return the seconds of operations alone, at an image's forward pass a second."""
    return (hours(sweep, 1e-6, size) - hours(sweep, ENDLESS, size)) * 3600


@pytest.mark.parametrize(("freeze", "tail"), [("all_but_head", 512 * 10), ("none", None)])
def test_the_part_behind_the_frozen_layers_is_counted(freeze: str, tail: int | None) -> None:
    row = {"model": "resnet18", "freeze": freeze, "image_size": 64}
    with Preflight(Sweep(base=TrainConfig(), rows=[row]), 1, False) as looking:
        (size,) = known(looking).largest
    assert size.tail_flops == (size.flops if tail is None else 2 * tail)
    assert size.tail_tensors == (size.tensors if tail is None else 2)
    assert size.fits_cache == (tail is not None)


def test_finalists_and_further_searches_cost_as_many_trials_more() -> None:
    searched = {"lr": tune.loguniform(1e-4, 0.1)}
    base = TrainConfig(epochs=2, batch_size=16)
    one = Sweep(base=base, rows=[{}], search=searched, trials=5, seeds=0)
    several = replace(one, seeds=2, finalists=3, searches=4)
    trials = 4 * (5 + 3 * 2 + 2)
    assert hours(several, ENDLESS) == pytest.approx(hours(one, ENDLESS) * trials / 5)
    tested = hours(several, 1e-6) - hours(one, 1e-6) * trials / 5  # 50 images each
    assert tested * 3600 == pytest.approx(4 * 2 * 50, rel=1e-3)


def test_the_smallest_batches_that_may_be_searched_count() -> None:
    small, large = (
        Sweep(base=TrainConfig(batch_size=size), rows=[{}], trials=1) for size in (4, 64)
    )
    searched = replace(large, search={"batch_size": tune.choice([64, 4, 16])})
    assert hours(searched, ENDLESS) == hours(small, ENDLESS) > hours(large, ENDLESS)


def test_the_fewest_images_that_may_be_held_back_count() -> None:
    searched = {
        "validation_fraction": tune.uniform(0.1, 0.4),
        "train_fraction": tune.uniform(0.2, 0.8),
    }
    config = Sweep(base=TrainConfig(), rows=[{}], search=searched).planned[0].largest
    assert (config.validation_fraction, config.train_fraction) == (0.1, 0.8)


def test_tensors_are_counted() -> None:
    with Preflight(
        replace(SWEEP, base=TrainConfig(model="mlp", dense_width=(8, 4))), 1, False
    ) as looking:
        assert known(looking).largest[0].tensors == 6  # weights and biases of three layers


def test_batches_are_checked_for_the_processes_of_the_place() -> None:
    """The smallest batch that the search may propose counts."""
    rows: list[dict[str, object]] = [{"model": "cnn"}, {"model": "mlp", "loss": "triplet"}]
    search = {"batch_size": tune.choice([64, 2])}
    sweep = Sweep(base=TrainConfig(), rows=rows, search=search)
    place = LocalSettings(cpus_per_trial=2, processes_per_trial=2, gpus_per_trial=0)
    assert place.devices_per_trial == 2
    looking = Preflight(sweep, place.devices_per_trial, place.uses_gpus)
    with looking, pytest.raises(ConfigError) as error:
        looking.result()
    first, second = error.value.problems
    assert first.startswith("batch_size = 2: gives a process one image at a time, and cnn cannot")
    assert second == "batch_size = 2: loss triplet needs at least 3 images at a time"
    # GPUs normalise over the images of all processes.
    # Only rows that are run now are checked: not the one with the loss of triplets.
    on_gpus = replace(sweep, run_only=frozenset({0}))
    with Preflight(on_gpus, processes=2, on_gpus=True) as looking:
        sizes = known(looking)
    assert len(sizes.rows) == 1
    assert len(trial_hours(on_gpus, sizes, 1.0, workers=1)[0]) == 1
