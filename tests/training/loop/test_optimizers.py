import copy
import typing
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Optimizer, Schedule
from fieldtrial.training.loop.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    build_optimizer,
    learning_rate,
    rate_shares,
    set_rate,
)
from tests.training.networks import network_for

NAMES = typing.get_args(Optimizer)


def trained(config: TrainConfig, steps: int = 20) -> tuple[list[Tensor], list[float]]:
    """Return the parameters and losses of a small regression with a frozen first layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        model[0].requires_grad_(False)
        inputs = torch.randn(32, 6)
        targets = torch.tanh(inputs @ torch.randn(6, 1))
    optimizer = build_optimizer(model.parameters(), config)
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(inputs), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()], losses


def test_biases_and_norms_decay_as_the_config_says() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)

    def after_a_step(decay_all: bool) -> list[float]:
        copied = copy.deepcopy(model)
        for own, one in zip(copied.parameters(), model.parameters(), strict=True):
            own.grad = one.grad
        config = TrainConfig(optimizer="adamw", lr=0.5, weight_decay=0.2, decay_all=decay_all)
        build_optimizer(copied.parameters(), config).step()
        return [parameter.mean().item() for parameter in copied.parameters()]

    assert after_a_step(True) == pytest.approx([0.9] * 6)  # 1 - 0.5 × 0.2
    # weight and bias of the convolution, of the normalisation, of the last layer
    assert after_a_step(False) == pytest.approx([0.9, 1, 1, 1, 0.9, 1])


def test_every_choice_of_the_config_is_there() -> None:
    assert set(OPTIMIZERS) == set(NAMES)
    assert set(SCHEDULES) == set(typing.get_args(Schedule))


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_learns_repeats_exactly_and_leaves_frozen_parameters_alone(
    name: Optimizer,
) -> None:
    config = TrainConfig(optimizer=name, lr=0.02, weight_decay=1e-3)
    once, losses = trained(config)
    again, _ = trained(config)
    untrained, _ = trained(config, steps=0)
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(one, two) for one, two in zip(once, again, strict=True))
    assert [torch.equal(one, two) for one, two in zip(once, untrained, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    only_trainable = build_optimizer([nn.Parameter(torch.ones(1)), *frozen()], config)
    assert sum(len(group["params"]) for group in only_trainable.param_groups) == 1


@pytest.mark.parametrize("name", NAMES)
def test_fused_steps_are_the_plain_ones_up_to_rounding(
    name: Optimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(optimizer=name, lr=0.02, weight_decay=1e-3, decay_all=False)
    (group, _) = build_optimizer([*frozen(), *nn.Linear(2, 2).parameters()], config).param_groups
    assert group.get("fused") or group["foreach"]
    quick, _ = trained(config)
    monkeypatch.setenv("FIELDTRIAL_FUSED", "off")
    (group, _) = build_optimizer([*frozen(), *nn.Linear(2, 2).parameters()], config).param_groups
    assert not group.get("fused")
    assert not group["foreach"]
    plain, _ = trained(config)
    for one, other in zip(quick, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def frozen() -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(1), requires_grad=False)]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sgd", {"momentum": 0.0}),
        ("sgd", {"nesterov": True}),
        ("rmsprop", {"momentum": 0.0}),
        ("rmsprop", {"epsilon": 0.1}),
        ("adam", {"betas": (0.5, 0.9)}),
        ("adam", {"epsilon": 0.1}),
        ("adamw", {"betas": (0.5, 0.9)}),
        ("adamw", {"epsilon": 0.1}),
        ("adagrad", {"epsilon": 0.1}),
        ("nadam", {"betas": (0.5, 0.9)}),
        ("nadam", {"epsilon": 0.1}),
        *((name, {"weight_decay": 0.1}) for name in NAMES),
        *((name, {"lr": 0.01}) for name in NAMES),
    ],
)
def test_every_hyperparameter_reaches_its_optimizer(
    name: Optimizer, change: dict[str, object]
) -> None:
    plain = {"optimizer": name, "lr": 0.02}
    before, _ = trained(TrainConfig.from_dict(plain))
    after, _ = trained(TrainConfig.from_dict(plain | change))
    assert not torch.equal(before[-1], after[-1])


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_weight_decay_is_decoupled_for_adamw_only(name: Optimizer) -> None:
    parameter = nn.Parameter(torch.tensor([2.0]))
    parameter.grad = torch.zeros(1)
    build_optimizer([parameter], TrainConfig(optimizer=name, lr=0.1, weight_decay=0.5)).step()
    # AdamW shrinks by lr × decay; Adam sees decay × weight as a gradient, and its first step is lr
    # whatever the size
    assert parameter.item() == pytest.approx(2 * (1 - 0.1 * 0.5) if name == "adamw" else 2 - 0.1)


def rates(steps: int = 10, **changes: object) -> list[float]:
    config = TrainConfig.from_dict({"lr": 1.0, **changes})
    return [learning_rate(config, step, steps) for step in range(steps)]


@pytest.mark.parametrize(
    ("model", "shares"),
    [
        (
            {"blocks": 2, "filters": (4,), "dense_width": (8,)},
            {"head.bias": 1, "dense1.weight": 0.5, "block2.batch_norm.bias": 0.25,
             "block1.convolution.weight": 0.125},
        ),
        (
            {"model": "timm:test_vit"},
            {"head.weight": 1, "norm.weight": 0.5, "blocks.5.mlp.fc1.bias": 0.5,
             "blocks.0.attn.qkv.weight": 0.5**6, "pos_embed": 0.5**7,
             "patch_embed.proj.weight": 0.5**7},
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("decay_all", [True, False])
def test_the_rate_falls_by_the_units_above(
    model: dict[str, Any], shares: dict[str, float], decay_all: bool
) -> None:
    config = TrainConfig(
        **model, optimizer="sgd", momentum=0.0, layer_decay=0.5, lr=0.4, decay_all=decay_all
    )
    network = network_for(config, size=32, channels=3)
    named = dict(network.model.named_parameters())
    optimizer = build_optimizer(named.values(), config, rate_shares(network, config))
    before = {name: named[name].detach().clone() for name in shares}
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    set_rate(optimizer, 0.1)  # a quarter of the peak, by the schedule
    optimizer.step()
    for name, share in shares.items():
        moved = before[name] - named[name].detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * share))
    assert rate_shares(network, replace(config, layer_decay=1.0)) == {}


def test_the_schedules() -> None:
    assert rates() == [1.0] * 10
    assert rates(schedule="linear") == pytest.approx([1 - step / 10 for step in range(10)])
    cosine = rates(schedule="cosine")
    assert cosine[0] == 1
    assert cosine[5] == pytest.approx(0.5)
    assert cosine == sorted(cosine, reverse=True)
    assert learning_rate(TrainConfig(schedule="cosine"), 10, 10) == 0
    assert learning_rate(TrainConfig(schedule="linear"), 10, 10) == 0


def test_the_warm_up_rises_to_the_peak() -> None:
    assert rates(warmup_fraction=0.4) == pytest.approx([0.25, 0.5, 0.75, 1.0] + [1.0] * 6)
    assert rates(warmup_fraction=0.4, schedule="linear") == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    )
    assert rates(warmup_fraction=1.0) == pytest.approx([step / 10 for step in range(1, 11)])


def test_steps_fall_by_gamma_after_whole_epochs() -> None:
    fields = {"schedule": "step", "step_epochs": 2, "gamma": 0.5, "epochs": 5}
    assert rates(15, **fields) == [1.0] * 6 + [0.5] * 6 + [0.25] * 3  # three steps an epoch
    assert (
        rates(15, **fields, warmup_fraction=0.2)[3:] == [1.0] * 6 + [0.5] * 6
    )  # counted from the warm-up's end
    reference = torch.optim.SGD([nn.Parameter(torch.ones(1))], 1.0)
    steps = torch.optim.lr_scheduler.StepLR(reference, step_size=7)
    expected = []
    for _ in range(30):
        expected += [reference.param_groups[0]["lr"]] * 21
        reference.step()
        steps.step()
    assert rates(30 * 21, schedule="step", epochs=30) == pytest.approx(expected)


def test_one_cycle_rises_and_falls_once() -> None:
    cycle = rates(1000, schedule="one_cycle")
    assert cycle.index(max(cycle)) in (299, 300)
    assert max(cycle) == pytest.approx(1.0)
    assert cycle[0] == pytest.approx(1 / 25, rel=0.1)
    assert cycle[-1] == pytest.approx(1e-4, rel=0.1)
    assert cycle[:300] == sorted(cycle[:300])
    assert cycle[300:] == sorted(cycle[300:], reverse=True)
    earlier = rates(1000, schedule="one_cycle", warmup_fraction=0.1)
    assert earlier.index(max(earlier)) in (99, 100)


def test_each_plateau_multiplies_by_gamma() -> None:
    config = TrainConfig(schedule="plateau", lr=0.4, gamma=0.5)
    assert [learning_rate(config, 7, 10, plateaus) for plateaus in range(3)] == pytest.approx(
        [0.4, 0.2, 0.1]
    )
    assert learning_rate(replace(config, schedule="cosine"), 0, 10, plateaus=2) == 0.4


def test_nesterov_without_momentum_is_the_plain_step() -> None:
    plain, _ = trained(TrainConfig(optimizer="sgd", momentum=0.0))
    nesterov, _ = trained(TrainConfig(optimizer="sgd", momentum=0.0, nesterov=True))
    assert torch.equal(plain[-1], nesterov[-1])


@given(
    st.sampled_from(typing.get_args(Schedule)),
    st.floats(0, 1),
    st.integers(1, 300),
    st.data(),
)
def test_the_rate_is_always_above_zero_and_at_most_the_peak(
    schedule: Schedule, warmup: float, steps: int, data: st.DataObject
) -> None:
    config = TrainConfig(lr=0.3, schedule=schedule, warmup_fraction=warmup)
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < learning_rate(config, step, steps) <= 0.3
    if warmup * steps >= 1:  # the peak, or the nearest that a whole step can be to it
        peak = max(learning_rate(config, step, steps) for step in range(steps))
        assert peak > 0.3 * (1 - 1 / (warmup * steps))
