"""Which pretrained weights a config means, and what they were trained on."""

import pytest
import torchvision.models

from fieldtrial.config import TrainConfig
from fieldtrial.training.models.source import ModelSource


def origin(model: str, weights: str = "imagenet") -> tuple[str, ...]:
    return tuple(ModelSource.of(TrainConfig(model=model, weights=weights)).origin.values())


def test_a_librarys_default_is_resolved() -> None:
    """Against torchvision's and timm's pages of weights."""
    new = "https://github.com/pytorch/vision/issues/3995#issuecomment-1013906621"
    named = "torchvision:ResNet50.IMAGENET1K_V2"
    assert origin("torchvision:resnet50") == (named, "ImageNet-1k", new)
    weights, data, _ = origin("squeezenet1_0")
    assert (weights, data) == ("torchvision:SqueezeNet1_0.IMAGENET1K_V1", "ImageNet-1k")
    assert origin("timm:resnet18") == ("timm:resnet18.a1_in1k", "ImageNet-1k", "a1")
    assert origin("timm:vit_base_patch16_224") == (
        "timm:vit_base_patch16_224.augreg2_in21k_ft_in1k",
        "ImageNet-21k, then ImageNet-1k",
        "augreg2",
    )
    data = origin("timm:vit_base_patch16_clip_224")[1]
    assert data == "LAION-2B, then ImageNet-12k, then ImageNet-1k"


def test_a_tag_chooses() -> None:
    first = ModelSource.of(TrainConfig(model="resnet50", weights="imagenet:IMAGENET1K_V1"))
    assert first.origin["initial_weights"] == "torchvision:ResNet50.IMAGENET1K_V1"
    presets = torchvision.models.ResNet50_Weights
    for tag in ("IMAGENET1K_V1", "IMAGENET1K_V2"):
        source = ModelSource.of(TrainConfig(model="resnet50", weights=f"imagenet:{tag}"))
        recipe, preset = source.recipe, presets[tag].transforms()
        assert recipe is not None
        assert (recipe.resized, recipe.side) == (preset.resize_size[0], preset.crop_size[0])
    swag = origin("torchvision:vit_b_16", "imagenet:IMAGENET1K_SWAG_E2E_V1")
    assert swag[1] == "Instagram-3.6B, then ImageNet-1k"
    assert origin("timm:resnet18", "imagenet:fb_swsl_ig1b_ft_in1k")[:2] == (
        "timm:resnet18.fb_swsl_ig1b_ft_in1k",
        "Instagram-1B, then ImageNet-1k",
    )


@pytest.mark.parametrize(
    ("model", "tag", "said"),
    [
        (
            "resnet50",
            "V3",
            "weights of torchvision:resnet50; they are IMAGENET1K_V1, IMAGENET1K_V2",
        ),
        ("timm:resnet18", "a4_in1k", "they are a1_in1k, a2_in1k"),
        ("timm:resnet18.a1_in1k", "a2_in1k", "they are a1_in1k"),
        ("cnn", "a1_in1k", "there are none of cnn"),
    ],
)
def test_an_unknown_tag_is_refused_with_the_choices(model: str, tag: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"weights = 'imagenet:{tag}'.*{said}"):
        ModelSource.of(TrainConfig(model=model, weights=f"imagenet:{tag}"))
