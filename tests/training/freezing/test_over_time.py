"""Schemes that freeze other layers in other epochs: trials of them, whole and interrupted."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.models.hooks import HeadInput
from fieldtrial.training.models.network import FeatureNetwork, Network

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]

CNN: dict[str, Any] = {
    "model": "cnn", "blocks": 2, "filters": [4], "dense_width": [8], "images_per_class": 20,
}  # fmt: skip
UNITS = ["block1", "block2", "dense1", "head"]


def moved_by_epoch(run: Run) -> tuple[list[list[str]], list[bool]]:
    """Train; return which units each epoch has moved, and whether it learned from features."""
    fit, moved, featured = Fit(Attempt.at(run)), [], []
    before: dict[str, Tensor] = {}
    with contextlib.closing(fit.records()) as records:
        for record in records:
            state = {name: one.clone() for name, one in fit.network.model.state_dict().items()}
            if record["epoch"]:
                changed = {name for name in state if not torch.equal(state[name], before[name])}
                moved.append([one for one in UNITS if any(x.startswith(one) for x in changed)])
                featured.append(isinstance(fit.network, FeatureNetwork))
            before = state
    return moved, featured


def test_each_epoch_moves_what_the_scheme_says_and_a_probe_learns_from_features(
    new_run: NewRun,
) -> None:
    run = new_run("probe", **CNN, freeze="probe_then_all:2", epochs=3)
    moved, featured = moved_by_epoch(run)
    assert moved == [["head"], ["head"], UNITS]
    assert featured == [True, True, False]
    run = new_run("gradual", **CNN, freeze="gradual:1", epochs=5)
    moved, featured = moved_by_epoch(run)
    assert moved == [UNITS[3:], UNITS[2:], UNITS[1:], UNITS, UNITS]
    assert featured == [True, False, False, False, False]


@pytest.mark.usefixtures("each_epoch_saved")
@pytest.mark.parametrize(
    ("scheme", "optimizer"),
    [
        ("probe_then_all:2", "adagrad"),
        ("gradual:1", "adamw"),
        ("gradual:1", "sgd"),
        ("gradual:2", "nadam"),
    ],
)
def test_a_trial_interrupted_at_each_epoch_ends_as_if_it_had_not_been(
    scheme: str, optimizer: str, new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields = CNN | {"freeze": scheme, "optimizer": optimizer, "epochs": 4, "dropout": 0.2}
    whole, halted = new_run("whole", **fields), new_run("halted", **fields)
    train_until(whole)
    for attempt in (1, 2, 3, 4):
        train_until(halted, attempt=attempt, last_epoch=attempt)
    train_until(halted, attempt=5)
    assert numbers(halted) == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_after_its_last_epoch_a_trial_is_scored_with_what_was_frozen_then(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(**CNN, freeze="probe_then_all:2", epochs=2)
    train_until(run, last_epoch=2)  # and ends before it is scored
    fit = Fit(Attempt.at(run))
    with contextlib.closing(fit.records()) as records:
        assert [record["epoch"] for record in records] == [2]
    assert isinstance(fit.network, FeatureNetwork)


def test_the_best_epoch_may_be_one_of_the_probe(
    new_run: NewRun, train_until: TrainUntil, validate_as: Callable[..., None]
) -> None:
    validate_as(*((1.0, accuracy) for accuracy in (0.1, 0.9, 0.5, 0.4)))
    run = new_run(**CNN, freeze="probe_then_all:2", epochs=3)
    _, network = open_trial(run.config(), run)
    train_until(run, test=True)
    result = run.result() or {}
    assert result["best_epoch"] == 1
    assert result["trainable_parameters"] == result["parameters"]  # of the last epoch
    kept = load_file(str(run.weights_path))
    for name, tensor in network.state_dict().items():
        assert torch.equal(kept[name], tensor) == (not name.startswith("model.head.")), name


def test_what_a_trial_costs_is_that_of_its_last_epochs_and_zero_is_refused(tmp_path: Path) -> None:
    config = TrainConfig.from_dict({**CNN, "freeze": "gradual:3", "strategy": "zero2"})
    answer = check(Attempt(Run(tmp_path), config))
    assert answer["tail_flops"] == answer["flops"]
    assert not answer["fits_cache"]
    assert answer["trainable_parameters"] == answer["parameters"]  # in epoch 10
    for scheme in ("gradual:3", "probe_then_all:1", "lora:2"):
        config = TrainConfig.from_dict({**CNN, "freeze": scheme, "strategy": "zero2"})
        (problem,) = check(Attempt(Run(tmp_path), config, World(size=2)))["problems"]
        assert problem.startswith("strategy = 'zero2': must be ddp for several processes")


def test_cached_views_are_not_those_of_a_part_that_trains_later(new_run: NewRun) -> None:
    fields = {"augmentation": ["rotation"], "cached_views": 2, "epochs": 2}
    run = new_run(**CNN, **fields, freeze="probe_then_all:1")
    _, featured = moved_by_epoch(run)
    assert featured == [False, False]


def features_of(network: Network, images: Tensor) -> Tensor:
    """Return what the head gets, (n, width)."""
    given = HeadInput(network)
    network.eval()
    with torch.no_grad():
        network(images)
    given.close()
    return given.take()


def test_a_probe_first_leaves_more_of_the_features_as_they_were(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    """A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution", ICLR 2022: gradients through a random head distort the features.
    """
    shape = {"model": "cnn", "blocks": 3, "filters": [8], "dense_width": [16]}
    source = new_run("source", **(shape | {"classes": "all", "epochs": 6, "lr": 0.003}))
    train_until(source)
    target = shape | {"weights": str(source.path), "classes": "5-9", "images_per_class": 20}
    sgd = {"optimizer": "sgd", "lr": 0.01, "batch_size": 16, "select": "last"}
    changes: dict[str, list[float]] = {}
    for scheme, epochs in (("none", 10), ("probe_then_all:40", 50)):
        for seed in (1, 2):
            schedule = {"freeze": scheme, "epochs": epochs, "seed": seed}
            run = new_run(f"{scheme}-{seed}", **target, **sgd, **schedule)
            data, network = open_trial(run.config(), run)
            images = torch.from_numpy(data.take(data.validation))
            before = features_of(network, images)
            train_until(run)
            network.load_state_dict(load_file(str(run.weights_path)))
            change = (features_of(network, images) - before).norm() / before.norm()
            changes.setdefault(scheme, []).append(float(change))
    directly, after_a_probe = map(sum, changes.values())
    # 0.64 and 0.43 on average where this was written
    assert after_a_probe < 0.85 * directly
