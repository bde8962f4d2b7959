"""The layer that is explained by default, in every family of architectures."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from fieldtrial.config import TrainConfig
from fieldtrial.insight.subject import (
    NothingToDrawError,
    Subject,
    as_map,
    has_channels_last,
    last_map,
)
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.models.network import Network
from tests.training.networks import create

SIDES = {"inception_v3": 299, "timm:xception": 299}
# The last layer with a map before the head and the pooling, as the libraries' sources have it.
LAST = {
    "resnet18": "layer4",
    "densenet121": "features",
    "squeezenet1_1": "features",  # of which the classifier's dropout is a copy
    "vgg11": "features.19",  # the last ReLU; what follows is pooling
    "alexnet": "features.11",
    "inception_v3": "Mixed_7c",
    "mobilenet_v3_small": "features",
    "efficientnet_b0": "features",
    "convnext_tiny": "features",
    "shufflenet_v2_x0_5": "conv5",
    "swin_t": "permute",
    "timm:swin_tiny_patch4_window7_224": "norm",  # channels last
    "timm:convnext_atto": "stages",
    "timm:xception": "act4",
    "timm:mobilevit_xxs": "final_conv",
    "timm:volo_d1_224": "network.4",  # attention over pairs of tokens comes later, and is no map
    "timm:pvt_v2_b0": "stages",
}


@dataclass
class OnMeta:
    """A network without numbers, in the place of a run: what a `Subject` is asked for."""

    network: Network
    config: TrainConfig
    run: Any = field(default_factory=lambda: type("Nowhere", (), {"path": "runs/x"}))

    def outputs(self, layers: list[str], _indices: list[int]) -> dict[str, Tensor]:
        model, found, hooks = self.network.model, dict[str, Tensor](), []
        for name in layers:

            def keep(_module: object, _given: object, output: object, name: str = name) -> None:
                if isinstance(output, Tensor):
                    found.pop(name, None)
                    found[name] = output

            hooks.append(model.get_submodule(name).register_forward_hook(keep))
        side = self.network.image_size
        state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        state = {name: torch.empty_like(one, device="meta") for name, one in state.items()}
        functional_call(model, state, (torch.empty(1, 3, side, side, device="meta"),))
        return found


def on_meta(name: str) -> Subject:
    side, config = SIDES.get(name, 224), TrainConfig(model=name)
    with torch.device("meta"):
        model, head = create(config, DataShape(classes=10, channels=3, image_size=side))
    network = Network(model, head, side, (0.0,) * 3, (1.0,) * 3).eval()
    return OnMeta(network, config)  # type: ignore[return-value]


@pytest.mark.parametrize(("name", "layer"), LAST.items())
def test_the_layer_that_is_explained_is_the_last_before_head_and_pooling(
    name: str, layer: str
) -> None:
    subject = on_meta(name)
    assert last_map(subject) == layer
    found = as_map(subject.outputs([layer], [0])[layer])
    assert found is not None
    assert found.shape[0] == 1
    assert found.shape[2] == found.shape[3] < found.shape[1], "channels come first"


@pytest.mark.parametrize("name", ["vit_b_32", "timm:vit_tiny_patch16_224", "timm:mixer_s32_224"])
def test_a_transformer_of_tokens_has_no_map_that_explains_it(name: str) -> None:
    with pytest.raises(NothingToDrawError, match="a map at its first layer only; --layer"):
        last_map(on_meta(name))


def test_only_square_outputs_are_maps() -> None:
    first, last = torch.zeros(2, 5, 7, 7), torch.zeros(2, 7, 7, 5)
    assert as_map(first) is first
    turned = as_map(last)
    assert turned is not None
    assert turned.shape == (2, 5, 7, 7)
    assert [has_channels_last(one) for one in (first, last)] == [False, True]
    others = ((1, 3, 197, 64), (1, 12, 1, 197), (1, 8, 1, 1), (1, 49, 5), (1, 10))
    assert [other for other in others if as_map(torch.zeros(other)) is not None] == []
