"""What a strategy says about its machine, and optimisers whose parameters change."""

import logging
from pathlib import Path

import pytest
import torch

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.choices import Optimizer
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.loop import strategy
from fieldtrial.training.loop.optimizers import OPTIMIZERS, OptimizerState
from fieldtrial.training.loop.strategy import Replicated, has_bf16_units, prepare
from tests.training.networks import network_for


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu sse avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu sse amx_bf16 amx_tile", True),
        ("flags\t\t: fpu sse avx2 avx512f avx512_vnni", False),
        ("Features\t: fp asimd i8mm bf16", True),
        ("Features\t: fp asimd svebf16", False),
        ("model name\t: bf16 Lake", False),
    ],
)
def test_bf16_units_are_what_the_processor_says(line: str, has: bool, tmp_path: Path) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text(f"processor\t: 0\n{line}\nbogomips\t: 2\n")
    assert has_bf16_units(facts) is has
    assert has_bf16_units(tmp_path / "none")


def test_a_processor_without_bf16_units_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(model="mlp", precision="bf16")
    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(strategy, "has_bf16_units", lambda: True)
        prepare(network_for(config), config, World())
        assert not caplog.records
        monkeypatch.setattr(strategy, "has_bf16_units", lambda: False)
        prepare(network_for(config), config, World())
    assert "precision = bf16: this processor has no bf16 units" in caplog.text


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("fused", ["on", "off"])
def test_what_begins_to_train_later_begins_as_it_would_alone(
    name: Optimizer, fused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_FUSED", fused)
    config = TrainConfig(model="mlp", dense_width=(4,), optimizer=name, lr=0.1)

    def after(*steps: tuple[str, float]) -> dict[str, torch.Tensor]:
        """Return the weights after a step under each scheme, with that gradient everywhere."""
        network = network_for(config)
        state: OptimizerState = {}
        for scheme, gradient in steps:
            freeze(network, scheme)
            own = Replicated(network, config, World())
            own.load_optimizer_state(state)
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.full_like(parameter, gradient)
            own.step(config.lr)
            state = own.optimizer_state()
        return {name: one.detach() for name, one in network.named_parameters()}

    both = after(("all_but_head", 0.5), ("none", -0.25))
    dense, head = after(("none", -0.25)), after(("all_but_head", 0.5), ("all_but_head", -0.25))
    for key, weights in both.items():
        assert torch.equal(weights, (head if "head" in key else dense)[key]), key


def test_adagrad_with_several_rates_is_refused_under_zero() -> None:
    from fieldtrial.training.loop.zero import Zero

    config = TrainConfig(model="mlp", optimizer="adagrad", strategy="zero2", layer_decay=0.5)
    with pytest.raises(ConfigError, match=r"^strategy = 'zero2': DeepSpeed's Adagrad treats all"):
        Zero(network_for(config), config, World(size=2))
