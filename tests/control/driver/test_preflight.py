"""The check of a sweep's rows: its progress, its errors, and the bound on the sweep's cost."""

import sys
from dataclasses import replace

import pytest
from ray import tune

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.driver import preflight
from fieldtrial.control.driver.preflight import (
    EPOCH_SECONDS,
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
DOWNLOADING = """
import json, os, sys
print("chatter", file=sys.stderr)
os.write(int(os.environ["FIELDTRIAL_PROGRESS"]), b"x.zip: 1 of 4 MB\\n")
print(json.dumps([{"problems": ["no such thing"]} for _ in json.load(sys.stdin)]))
"""


def test_progress_is_shown_while_it_looks(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "COMMAND", [sys.executable, "-c", DOWNLOADING])
    with (
        Preflight(SWEEP, 1, False) as looking,
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


SMALL = Size(
    parameters=100, trainable_parameters=100, tensors=4, flops=10**6, classes=2,
    train_images=100, validation_images=10,
    test_images=50,
)  # fmt: skip
ENDLESS = 1e12  # teraflops: what is left is what there is beside operations


def hours(sweep: Sweep, teraflops: float, size: Size = SMALL) -> float:
    """Return the hours at most of the only row of `sweep`."""
    (found,), sources = trial_hours(sweep, SweepSizes([size], [size], {}), teraflops)
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
        assert looking.result().largest[0].tensors == 6  # weights and biases of three layers


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
    on_gpus = replace(sweep, rows=rows[:1])
    with Preflight(on_gpus, processes=2, on_gpus=True) as looking:
        assert len(looking.result().rows) == 1
