"""A warm worker builds a network once, and its trials get copies that share nothing that trains."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.freezing.trained_state import frozen_digest
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.models import kept, weights
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import build

SMALL: dict[str, Any] = {"model": "cnn", "filters": [4], "blocks": 2}


@pytest.fixture(autouse=True)
def builds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Network]]:
    """Return a list of the networks that are built; none is kept before and after the test."""
    made: list[Network] = []

    def build_and_note(*arguments: Any) -> Network:
        made.append(build(*arguments))
        return made[-1]

    monkeypatch.setattr(kept, "build", build_and_note)
    monkeypatch.setattr(kept, "_kept", type(kept._kept)())
    weights._read_state.cache_clear()
    yield made
    weights._read_state.cache_clear()


def state(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_trials_with_one_network_build_it_once(
    new_run: Callable[..., Run], builds: list[Network]
) -> None:
    first, second = (
        open_trial(run.config(), run)[1]
        for run in (new_run("a", **SMALL), new_run("b", **SMALL, lr=0.1, optimizer="sgd", epochs=7))
    )
    assert len(builds) == 1
    before = state(second)
    assert equal(state(first), before)
    assert (second.head, second.origin, second.flops) == (first.head, first.origin, first.flops)
    with torch.no_grad():
        for tensor in first.state_dict().values():
            tensor.add_(1)
    third = open_trial(new_run("c", **SMALL).config(), new_run("c", **SMALL))[1]
    assert equal(state(second), before)
    assert equal(state(third), before)
    assert len(builds) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"filters": [8]},
        {"classes": "4"},
        {"dropout": 0.4},
        {"batch_norm": False},
        {"precision": "bf16"},
        {"image_size": 16},
        {"activation": "tanh"},
    ],
)
def test_another_network_is_built(
    fields: dict[str, Any], new_run: Callable[..., Run], builds: list[Network]
) -> None:
    for name, own in (("a", {}), ("b", fields), ("c", fields)):
        run = new_run(name, **{**SMALL, **own})
        open_trial(run.config(), run)
    assert len(builds) == 2


def test_a_file_of_weights_that_has_changed_is_read_again(
    new_run: Callable[..., Run],
    train_until: Callable[..., list[Record]],
    builds: list[Network],
    tmp_path: Path,
) -> None:
    source = new_run("source", **SMALL, epochs=1)
    train_until(source)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(source.weights_path.read_bytes())
    config = TrainConfig.from_dict({**source.config().to_dict(), "weights": str(file)})
    before = state(open_trial(config, source)[1])
    builds.clear()
    assert equal(state(open_trial(config, source)[1]), before)
    assert not builds
    moved = {name: one + 1 for name, one in safetensors.torch.load_file(file).items()}
    safetensors.torch.save_file(moved, file)
    os.utime(file, (0, 12345))
    after = state(open_trial(config, source)[1])
    assert len(builds) == 1
    name = "model.block1.convolution.weight"
    assert torch.equal(after[name], before[name] + 1)


def test_no_more_is_kept_than_there_is_room_for(
    new_run: Callable[..., Run], builds: list[Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [new_run(str(seed), **SMALL, seed=seed) for seed in range(3)]
    size = kept._bytes(open_trial(runs[0].config(), runs[0])[1])
    monkeypatch.setattr(kept, "MOST_BYTES", 2 * size)
    for number in (1, 2, 1, 2, 0):
        open_trial(runs[number].config(), runs[number])
    assert len(builds) == 4
    monkeypatch.setattr(kept, "MOST_BYTES", size - 1)
    kept._kept.clear()
    open_trial(runs[0].config(), runs[0])
    assert not kept._kept


def test_what_is_found_out_of_frozen_layers_is_shared_and_what_is_loaded_is_not(
    new_run: Callable[..., Run],
) -> None:
    run = new_run("a", **SMALL)
    networks = [open_trial(run.config(), run)[1] for _ in range(3)]
    for network in networks:
        freeze(network, "first:1")
    own = frozen_digest(networks[0])
    assert networks[1].known is networks[0].known
    assert networks[0].known
    moved = {name: one + 1 for name, one in state(networks[1]).items()}
    networks[1].load_state_dict(moved)
    assert frozen_digest(networks[1]) != own
    assert frozen_digest(networks[2]) == own
