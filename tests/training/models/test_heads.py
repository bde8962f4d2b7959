"""Parameters of library models that follow the number of classes: the head, and no others."""

import pytest
import timm
import torch
from torch import nn

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.models.library.heads import head_entries, require_one_head
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.weights import AUXILIARY
from tests.training.networks import create


def on_meta(config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
    with torch.device("meta"):
        return create(config, shape)


def test_the_second_classifier_of_volo_is_left_out_of_model_and_weights() -> None:
    with torch.device("meta"):
        published = timm.create_model("volo_d1_224", num_classes=1000).state_dict()
    assert published["aux_head.weight"].shape == (1000, 384)
    model, head = on_meta(TrainConfig(model="timm:volo_d1_224"), DataShape(7, 3, 224))
    ours = model.state_dict()
    assert published.keys() - ours.keys() == {"aux_head.weight", "aux_head.bias"}
    assert not ours.keys() - published.keys()
    differing = [name for name in ours if ours[name].shape != published[name].shape]
    assert differing == [f"{head}.weight", f"{head}.bias"] == ["head.weight", "head.bias"]
    assert all(f"model.{name}".startswith(AUXILIARY) for name in published.keys() - ours.keys())


def test_a_regnet_has_its_parameters_without_numbers_too() -> None:
    model, head = on_meta(TrainConfig(model="regnet_y_400mf"), DataShape(1000, 3, 224))
    assert head == "fc"
    # torchvision's own table of weights
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_344_144


def test_a_last_layer_that_the_library_draws_too_wide_for_few_classes_is_told() -> None:
    def told(model: str, classes: int) -> dict[str, float]:
        built, head = create(TrainConfig(model=model), DataShape(classes, 3, 64))
        return head_entries(Network(built, head, 64, (0.5,) * 3, (0.5,) * 3))

    # timm draws uniformly from ±1/√classes, PyTorch from ±1/√inputs
    assert told("timm:mobilenetv3_small_050", 2) == {"head_width": pytest.approx(22.6, abs=1)}
    assert told("torchvision:efficientnet_b0", 1000) == {}
    assert told("torchvision:squeezenet1_1", 2) == {}


def test_parameters_that_follow_the_classes_outside_of_the_head_are_refused() -> None:
    require_one_head("timm:resnet18", "fc", ())
    with pytest.raises(ValueError, match=r"second classifier .* head: aux_head\.bias, aux_head\.w"):
        require_one_head("timm:volo_d1_224", "head", ())


def test_an_encoder_without_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no single last layer"):
        on_meta(TrainConfig(model="timm:qwen3_vit_88m_enc"), DataShape(7, 3, 224))


def test_a_model_with_two_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="no single last layer"):
        on_meta(TrainConfig(model="timm:deit_tiny_distilled_patch16_224"), DataShape(7, 3, 32))
