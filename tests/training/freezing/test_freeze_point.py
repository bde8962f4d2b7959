"""Freeze points: where models are cut, and that both parts make what the whole makes."""

import pytest
import torch
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.training.freezing.freeze_point import find_freeze_point
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.models.network import FeatureNetwork, Network
from tests.training.networks import network_for


def network_of(model: str, scheme: str, size: int = 64) -> Network:
    config = TrainConfig(model=model, filters=(8,), dense_width=(16, 8))
    network = network_for(config, size, channels=3, classes=10)
    freeze(network, scheme)
    return network


@pytest.mark.parametrize(
    ("model", "scheme", "shape"),
    [
        ("cnn", "all_but_head", (8,)),
        ("cnn", "first:2", (8, 16, 16)),
        ("torchvision:resnet18", "all_but_head", (512,)),
        ("torchvision:resnet18", "all_but_last:2", (512, 2, 2)),
        ("torchvision:resnet18", "only:layer4", (256, 4, 4)),
        ("torchvision:squeezenet1_1", "all_but_head", (512, 3, 3)),
        ("torchvision:vgg11", "all_but_last:2", (4096,)),
        ("torchvision:densenet121", "all_but_head", (1024,)),
        ("torchvision:inception_v3", "all_but_head", (2048, 1, 1)),
        ("torchvision:vit_b_32", "first:3", (5, 768)),
        ("timm:vit_tiny_patch16_224", "all_but_head", (192,)),
    ],
)
def test_the_two_parts_make_what_the_whole_makes(
    model: str, scheme: str, shape: tuple[int, ...]
) -> None:
    network = network_of(model, scheme, 299 if "inception" in model else 64)
    point = find_freeze_point(network)
    assert point
    images = torch.rand(2, 3, network.image_size, network.image_size)
    with torch.no_grad():
        made = point.prefix.run(network.normalise(images))
    assert made.shape == (2, *shape)
    assert all(
        not network.model.get_parameter(name).requires_grad
        for name in _parameters(network, point.cut.tensors)
    )
    for training in (True, False):
        network.train(training)
        torch.manual_seed(1)  # of dropout in the tail
        whole = network(images)
        torch.manual_seed(1)
        torch.testing.assert_close(point.tail.run(made.clone()), whole, rtol=0, atol=1e-5)


def _parameters(network: Network, names: tuple[str, ...]) -> set[str]:
    return {name for name, _ in network.model.named_parameters()} & set(names)


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ("torchvision:resnet18", "none"),
        ("torchvision:resnet18", "only:batch_norm"),  # the second layer trains
        ("torchvision:resnet18", "pattern:layer"),  # and here the first
        (
            "torchvision:densenet121",
            "first:8",
        ),  # a dense block's later layers look at all of its earlier ones
    ],
)
def test_where_there_is_no_freeze_point(model: str, scheme: str) -> None:
    assert find_freeze_point(network_of(model, scheme)) is None


class ModeDependent(nn.Module):
    """Two layers, and what its code does in between depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.first(images.mean(1)[:, 0, :4])
        return self.fc(nn.functional.dropout(features, 0.5, self.training))  # type: ignore[no-any-return]


class ValueDependent(ModeDependent):
    """One whose code looks at the numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else -images)


@pytest.mark.parametrize("model", [ModeDependent, ValueDependent])
def test_code_that_changes_with_the_mode_or_the_numbers_is_not_cut(model: type[nn.Module]) -> None:
    network = Network(model(), "fc", 8, (0.5,) * 3, (0.5,) * 3)
    freeze(network, "all_but_head")
    assert find_freeze_point(network) is None


def test_a_network_of_features_shares_state_and_logits_with_the_whole() -> None:
    network = network_of("cnn", "first:2")
    point = find_freeze_point(network)
    assert point
    images = torch.randint(256, (3, 64, 64, 3), dtype=torch.uint8)
    features = point.prefix.run(network.normalise(images)).detach()
    tail = FeatureNetwork(network, point.tail.run, point.cut.tail_modules, features[:1])
    own, whole = tail.state_dict(keep_vars=True), network.state_dict(keep_vars=True)
    assert list(own) == list(whole)
    assert all(tensor is whole[name] for name, tensor in own.items())
    torch.testing.assert_close(tail.eval()(features), network.eval()(images), rtol=0, atol=1e-6)
    assert not any(tail.train().model.get_submodule(name).training for name in network.held)
    assert tail(tail.blank()).shape == network(network.blank()).shape == (1, 10)
