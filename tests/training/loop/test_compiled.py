"""torch.compile: the same numbers, in training steps alone, and only where it may pay."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.data.load import load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import strategy
from fieldtrial.training.loop.strategy import decide
from tests.training.networks import network_for

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
GPU = World(device=torch.device("cuda"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_trial_has_the_numbers_of_one_that_is_not(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"model": "cnn", "filters": [4], "blocks": 2, "epochs": 2, "batch_size": 100}
    # Adam would enlarge the rounding of gradients near 0.
    fields |= {"optimizer": "sgd", "lr": 0.05, "patience": 2}
    plain, quick = (new_run(kind, **fields, compile=kind) for kind in ("off", "on"))
    train_until(plain)
    sizes: list[int] = []
    real = torch.compile

    def spy(model: torch.nn.Module, **settings: Any) -> Callable[[torch.Tensor], Any]:
        computed = real(model, **settings)

        def call(images: torch.Tensor) -> Any:
            sizes.append(len(images))
            return computed(images)

        return call

    monkeypatch.setattr(torch, "compile", spy)
    train_until(quick, last_epoch=1)
    train_until(quick, attempt=2)  # a compiled network's checkpoint is a network's
    full = len(load(quick.config(), None).train) // 100
    assert sizes == 2 * full * [100], "the last batch and evaluation are computed as they are"
    for one, other in zip(plain.records(), quick.records(), strict=True):
        for name in ("train_loss", "validation_loss"):
            assert other[name] == pytest.approx(one[name], rel=1e-3)
    weights = [safetensors.torch.load(run.weights_path.read_bytes()) for run in (plain, quick)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)
    reasons = [run.environment()["1"]["compile"] for run in (plain, quick)]
    assert reasons == ["compile = off", "compile = on"]


def test_a_network_is_compiled_where_the_steps_may_repay_it() -> None:
    config = TrainConfig(model="mlp")
    network = network_for(config)
    many = int(2 * strategy.COMPILE_SECONDS / strategy.SAVED_SECONDS)
    assert decide(network, config, World(), many)[0] is False
    assert decide(network, config, GPU, many)[0] is True
    few, why = decide(network, config, GPU, many // 4)
    assert (few, why) == (
        False,
        "not compiled: 15,000 steps may save 30 s, compiling takes about 60 s",
    )
    dropping = network_for(replace(config, dropout=0.5))
    why = "not compiled: layers with dropout would draw other numbers"
    assert decide(dropping, config, GPU, many) == (False, why)
    blocks = network_for(replace(config, model="torchvision:swin_t", dropout=0.0))
    assert decide(blocks, config, GPU, many) == (False, why)  # which it leaves out by chance
    assert decide(dropping, replace(config, compile="on"), GPU, 1)[0] is True
    assert decide(network, replace(config, compile="off"), GPU, many)[0] is False
    on = replace(config, compile="on")
    assert decide(network, on, World(), 1)[0] is True
    assert decide(network, replace(on, loss="center"), World(), 1)[0] is False
    assert decide(network, on, World(size=2), 1)[0] is False


def test_a_trial_that_goes_on_decides_by_all_of_its_steps(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def note(*arguments: Any) -> tuple[bool, str]:
        asked.append(arguments[-1])
        return decide(*arguments)

    monkeypatch.setattr(strategy, "decide", note)
    run = new_run("run", epochs=3)
    train_until(run, last_epoch=2)
    train_until(run, attempt=2)
    steps = run.records()[-1]["step"]
    assert asked == [steps, steps]
