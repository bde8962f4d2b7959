"""What training changes of a network, and what it does not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.freezing.trained_state import (
    frozen_digest,
    frozen_names,
    load_trained,
    trained_state,
    whole_state,
)
from fieldtrial.training.loop import checkpoint, fit
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models.network import Network
from tests.training.networks import network_for

TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]
PROBE: dict[str, Any] = {"model": "cnn", "filters": [4], "freeze": "first:3", "batch_size": 50}


def network_of(model: str, scheme: str) -> Network:
    network = network_for(TrainConfig(model=model, filters=(8,)), 64, channels=3, classes=10)
    freeze(network, scheme)
    return network


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ("cnn", "all_but_head"),
        ("torchvision:resnet18", "all_but_head"),
        ("torchvision:resnet18", "first:5"),
        ("torchvision:resnet18", "only:convolutions"),
        ("torchvision:resnet18", "only:batch_norm"),
        ("torchvision:resnet18", "pattern:conv"),  # its norms train
        ("torchvision:densenet121", "first:8"),
        ("torchvision:vit_b_32", "first:3"),
    ],
)
def test_nothing_else_moves_in_training(model: str, scheme: str) -> None:
    network = network_of(model, scheme)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.train()
    loss = network(torch.randint(256, (4, 64, 64, 3), dtype=torch.uint8)).square().sum()
    loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * (parameter.grad + 1))
    after = network.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert moved
    assert moved <= trained_state(network).keys()
    assert not moved & frozen_names(network)
    trains = {name for name, one in network.named_parameters() if one.requires_grad}
    assert trains <= trained_state(network).keys()
    assert trained_state(network).keys() | frozen_names(network) == before.keys()


def test_a_whole_state_is_made_of_both_parts() -> None:
    network, other = network_of("cnn", "first:2"), network_of("cnn", "first:2")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    whole = whole_state(network, trained_state(other))
    names = frozen_names(network)
    assert list(whole) == list(network.state_dict())
    for name, tensor in whole.items():
        source = network if name in names else other
        assert torch.equal(tensor, source.state_dict()[name])
    load_trained(network, trained_state(other))
    assert all(torch.equal(own, whole[name]) for name, own in network.state_dict().items())
    with pytest.raises(RuntimeError, match=r"not what the network trains: model\.head\.bias"):
        load_trained(network, {k: v for k, v in whole.items() if k != "model.head.bias"})


def test_a_digest_follows_the_values_that_are_loaded() -> None:
    network = network_of("cnn", "first:2")
    assert frozen_digest(network_of("cnn", "none")) is None
    own = frozen_digest(network)
    assert own == frozen_digest(network_of("cnn", "first:2"))
    assert own != frozen_digest(network_of("cnn", "first:1"))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    name = sorted(frozen_names(network))[0]
    state[name] = state[name] + 1
    network.load_state_dict(state)
    assert frozen_digest(network) != own


@pytest.mark.usefixtures("each_epoch_saved")
def test_checkpoints_have_what_trains_and_results_are_whole(
    new_run: Callable[..., Run], train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = new_run("whole", **PROBE), new_run("halted", **PROBE)
    train_until(whole)
    train_until(halted, last_epoch=2)
    _, network = open_trial(halted.config(), halted)
    saved = checkpoint.read(halted.checkpoint_path(2))
    assert saved["model"].keys() == trained_state(network).keys()
    assert 0 < len(saved["model"]) < len(network.state_dict())
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()
    kept = safetensors.torch.load_file(halted.weights_path)
    assert kept.keys() == network.state_dict().keys()


@pytest.mark.usefixtures("each_epoch_saved")
def test_a_checkpoint_of_an_earlier_version_is_whole(
    new_run: Callable[..., Run], train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = new_run("whole", **PROBE), new_run("halted", **PROBE)
    train_until(whole)
    train_until(halted, last_epoch=1)
    halted.frozen_path.unlink()
    _, network = open_trial(halted.config(), halted)
    for path in halted.checkpoints():
        state = checkpoint.read(path)
        state["model"] = whole_state(network, state["model"])
        del state["frozen"]
        torch.save(state, Path(path).with_suffix(".new"))
        Path(path).with_suffix(".new").rename(path)
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()


@pytest.mark.usefixtures("each_epoch_saved")
def test_frozen_layers_that_come_out_otherwise_are_read_from_the_file_or_refused(
    new_run: Callable[..., Run],
    train_until: TrainUntil,
    numbers: Numbers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another version of a library may draw other weights from the same seed."""
    runs = [new_run(name, **PROBE) for name in ("whole", "halted", "lost")]
    for run, last in zip(runs, (None, 1, 1), strict=True):
        train_until(run, last_epoch=last)

    def open_with_another_version(*arguments: Any) -> Any:
        data, network = open_trial(*arguments)
        moved = {name: tensor + 0.5 for name, tensor in network.state_dict().items()}
        network.load_state_dict(moved)
        network.mean.sub_(0.5)
        network.std.sub_(0.5)
        return data, network

    monkeypatch.setattr(fit, "open_trial", open_with_another_version)
    whole, halted, lost = runs
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)
    lost.frozen_path.unlink()
    with pytest.raises(ConfigError, match="freeze = 'first:3': the frozen layers come out with"):
        train_until(lost, attempt=2)


@pytest.mark.usefixtures("each_epoch_saved")
def test_a_checkpoint_of_another_network_is_refused(
    new_run: Callable[..., Run], train_until: TrainUntil
) -> None:
    run = new_run("run", **PROBE)
    train_until(run, last_epoch=1)
    _, network = open_trial(run.config(), run)
    saved = checkpoint.read(run.checkpoint_path(1))
    name = next(iter(saved["model"]))
    models: list[dict[str, torch.Tensor]] = [saved["model"] | {name: torch.ones(7, 7, 7)}, {}]
    for model in models:
        with pytest.raises(ValueError, match=f"{run.path}: a checkpoint of another network: "):
            checkpoint.restore(run, run.config(), network, saved | {"model": model})
    # a pipe in the place of the frozen part is not waited for
    run.frozen_path.unlink()
    os.mkfifo(run.frozen_path)
    with pytest.raises(OSError, match="must be a file"):
        checkpoint.restore(run, run.config(), network, saved | {"frozen": "of other weights"})


@pytest.mark.usefixtures("each_epoch_saved")
def test_what_a_file_of_weights_has_is_not_kept_again(
    new_run: Callable[..., Run], train_until: TrainUntil
) -> None:
    source = new_run("source", **PROBE)
    train_until(source)
    run = new_run("run", **PROBE, weights=str(source.path), seed=1)
    train_until(run, last_epoch=1)
    assert run.checkpoints()
    assert not run.frozen_path.exists()
    drawn = new_run("drawn", **PROBE, seed=1)
    train_until(drawn, last_epoch=1)
    assert drawn.frozen_path.exists()
