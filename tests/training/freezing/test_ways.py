"""What moves in training under each way to fine-tune, on a CNN, a transformer and a ResNet."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.models.network import Network
from tests.training.networks import network_for

SIZE = 32
MODELS = {
    "cnn": TrainConfig(blocks=2, filters=(4,), dense_width=(8,)),
    "vit": TrainConfig(model="timm:test_vit"),
    "resnet": TrainConfig(model="torchvision:resnet18"),
}
HEADS = {"cnn": "head", "vit": "head", "resnet": "fc"}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def after_training(network: Network) -> set[str]:
    """Return the names of the tensors that two steps of training have moved."""
    torch.manual_seed(0)
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    trained = [one for one in network.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    network.train()
    channels = network.mean.shape[1]
    for _ in range(2):
        outputs = network(torch.rand(6, channels, SIZE, SIZE))
        loss = nn.functional.cross_entropy(outputs, torch.arange(6) % 5)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(one.grad is not None for one in trained)
        optimizer.step()
    after: dict[str, Tensor] = network.model.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


def does_nothing(name: str) -> bool:
    """Return whether batch normalisation takes off what this bias of the CNN adds."""
    return name.endswith(".convolution.bias")


def inside(names: Iterable[str], *parts: str) -> set[str]:
    return {name for name in names if name.startswith(parts)}


def of_norms(name: str) -> bool:
    """Return whether a tensor is of a normalisation layer, by the names of these three models."""
    layer = name.rpartition(".")[0].rpartition(".")[2]
    return "norm" in layer or layer.startswith("bn") or ".downsample.1." in name


WAYS: dict[tuple[str, int], Callable[[str, set[str]], set[str]]] = {
    # what moves beside the head, of all names
    ("only:biases", 1): lambda _, names: {
        name
        for name in names
        if name.endswith(".bias") or (of_norms(name) and name.endswith(STATISTICS))
    },
    ("only:norms", 1): lambda _, names: {name for name in names if of_norms(name)},
    ("block:2", 1): lambda model, names: inside(
        names, {"cnn": "block2.", "vit": "blocks.0.", "resnet": "layer1.0."}[model]
    ),
    ("probe_then_all:3", 3): lambda _, _names: set(),
    ("probe_then_all:3", 4): lambda _, names: names,
    ("gradual:2", 2): lambda _, _names: set(),
    ("gradual:2", 5): lambda model, names: inside(
        names,
        *{
            "cnn": ("dense1.", "block2."),
            "vit": ("blocks.5.", "blocks.4.", "norm."),
            "resnet": ("layer4.1.", "layer4.0."),
        }[model],
    ),
}


@pytest.mark.parametrize("model", MODELS)
def test_what_a_way_trains_moves_and_nothing_else(model: str) -> None:
    config = MODELS[model]
    for (scheme, epoch), expected in WAYS.items():
        network = network_for(config, size=SIZE, channels=3)
        names = set(network.model.state_dict())
        freeze(network, scheme, epoch)
        head = inside(names, f"{HEADS[model]}.")
        moved = {name for name in after_training(network) if not does_nothing(name)}
        wanted = {name for name in expected(model, names) | head if not does_nothing(name)}
        assert moved == wanted, (scheme, epoch)
