"""How much a network computes for an image's training, and at which rate a GPU could."""

import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Precision
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.models.utilization import (
    ideal_seconds,
    peak_rate,
    training_flops,
    utilization,
)
from tests.training.networks import network_for, same

MLP = TrainConfig(model="mlp", dense_width=(16,))


def test_what_training_computes_by_hand() -> None:
    network = network_for(MLP)
    first, last = (one for one in network.modules() if isinstance(one, torch.nn.Linear))
    products = 2 * first.in_features * first.out_features, 2 * last.in_features * last.out_features
    # Forward, the weights' gradient, and the input's, which the first layer need not compute.
    assert training_flops(network) == 2 * products[0] + 3 * products[1]
    freeze(network, "all_but_head")
    assert training_flops(network) == products[0] + 2 * products[1]


def test_counting_changes_nothing() -> None:
    config = TrainConfig(filters=(4,), batch_norm=True, dropout=0.5)
    network = network_for(config).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()
    assert training_flops(network) > 0
    assert same(network.state_dict(), before) == list(before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "precision", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H200", "fp32", 494.7),
        ("NVIDIA GH200 480GB", "bf16", 989.4),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A10G", "bf16", 125),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
        ("Tesla V100-SXM2-32GB", "fp32", 15.7),
        ("Tesla T4", "bf16", None),  # which computes in fp32 instead
        ("NVIDIA RTX 123", "bf16", None),
    ],
)
def test_rates_of_cards(name: str, precision: Precision, teraflops: float | None) -> None:
    assert peak_rate(name, precision) == (None if teraflops is None else teraflops * 1e12)


def test_the_share_is_that_of_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ideal_seconds(network_for(MLP), World()) is None
    assert utilization(1000.0, None, World()) == {}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA A100-SXM4-40GB")
    network = network_for(MLP)
    two = World(size=2, device=torch.device("cuda", 0))
    ideal = ideal_seconds(network, two)
    assert ideal == training_flops(network) / 156e12
    assert utilization(4e6, ideal, two) == {"utilization": 4e6 * ideal / 2}
