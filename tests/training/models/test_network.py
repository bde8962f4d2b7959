"""The network: images to logits, what it counts, and the image sizes that it takes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.models
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.models.hooks import AuxiliaryLogits, flatten_features
from fieldtrial.training.models.network import (
    Network,
    count_flops,
    count_parameters,
    count_trainable,
)
from fieldtrial.training.models.source import ModelSource
from tests.training.networks import IMAGENET_MEAN, SQUEEZENET, network_for, same


def digits() -> Tensor:
    """Eight real 8×8 images, uint8 (n, h, w, 1)."""
    return torch.from_numpy((load_digits().images[:8, :, :, None] * 15.9375).astype(np.uint8))


def test_stored_images_and_float_images_give_the_same_logits() -> None:
    network = network_for(TrainConfig(filters=(4,))).eval()
    stored = digits()
    logits = network(stored)
    assert logits.shape == (8, 5)
    assert logits.dtype == torch.float32
    as_float = stored.permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(network(as_float), logits)
    torch.testing.assert_close(network.model((as_float - 0.3) / 0.4), logits)


MODELS = (
    "cnn",
    "mlp",
    "resnet18",
    "squeezenet1_1",
    "mobilenet_v3_small",
    "timm:vit_tiny_patch16_224",
)


@pytest.mark.parametrize("model", MODELS)
def test_channels_last_computes_what_channels_first_does(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, given = TrainConfig(model=model), torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8, generator=given)
    found = []
    for memory_format in ("channels_last", "contiguous"):
        monkeypatch.setenv("FIELDTRIAL_MEMORY_FORMAT", memory_format)
        network = network_for(config, 32, channels=3)
        asked: torch.memory_format = getattr(torch, f"{memory_format}_format", torch.channels_last)
        for given_images in (images, images.permute(0, 3, 1, 2) / 255):
            assert network.normalise(given_images).is_contiguous(memory_format=asked)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                assert layer.weight.is_contiguous(memory_format=asked)
        network.eval()  # dropout would be drawn in another order
        logits = network(images)
        functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        found.append([logits.detach(), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_normalising_follows_its_mean_and_spread() -> None:
    network = network_for(TrainConfig(filters=(4,)))
    stored = digits()
    before = network.normalise(stored)
    assert torch.equal(network.normalise(stored), before)
    network.load_state_dict(network.state_dict() | {"mean": torch.full((1, 1, 1, 1), 0.5)})
    torch.testing.assert_close(network.normalise(stored), before - 0.2 / 0.4)
    network.std = network.std / 2
    torch.testing.assert_close(network.normalise(stored), 2 * (before - 0.2 / 0.4))
    narrow = network.normalise(stored[:, :, :4])
    torch.testing.assert_close(narrow, network.normalise(stored)[..., :4])


def test_bf16_computes_in_bf16_and_returns_float32() -> None:
    seen = []
    network = network_for(TrainConfig(filters=(4,), precision="bf16")).eval()
    network.get_submodule(network.head).register_forward_hook(
        lambda *call: seen.append(call[-1].dtype)
    )
    logits = network(digits())
    assert seen == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_what_a_last_layer_gets_is_averaged_over_its_places() -> None:
    values = torch.rand(2, 3, 4, 5)
    assert torch.allclose(flatten_features(nn.Conv2d(3, 7, 1), values), values.mean((2, 3)))
    assert torch.allclose(
        flatten_features(nn.Linear(5, 7), values), values.mean((1, 2))
    )  # channels last
    assert torch.allclose(flatten_features(nn.Linear(5, 7), values[:, 0]), values[:, 0].mean(1))
    assert torch.equal(flatten_features(nn.Linear(5, 7), values[:, 0, 0]), values[:, 0, 0])


def test_grey_images_are_repeated_for_a_library_model() -> None:
    network = network_for(SQUEEZENET, size=32).eval()
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(network(grey), network(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(ValueError, match="1 or 3 channels, the data's have 4"):
        network_for(SQUEEZENET, size=32, channels=4)


@pytest.mark.parametrize("model", ["cnn", "torchvision:resnet18", "timm:vit_tiny_patch16_224"])
def test_the_seed_alone_draws_the_weights(model: str) -> None:
    size = 8 if model == "cnn" else 32
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = network_for(TrainConfig(model=model), size).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(100)
    again = network_for(TrainConfig(model=model), size).state_dict()
    assert same(first, again) == list(first)
    other = network_for(TrainConfig(model=model, seed=1), size)
    changed = set(first) - set(same(first, other.state_dict()))
    assert f"{other.head}.weight" in changed


def test_counts() -> None:
    network = network_for(TrainConfig(model="mlp", dense_width=(16,)))
    assert count_parameters(network) == 64 * 16 + 16 + 16 * 5 + 5
    network.get_submodule(network.head).requires_grad_(False)
    assert count_trainable(network) == 64 * 16 + 16
    assert count_flops(network, 8, 1) == 2 * (64 * 16 + 16 * 5)
    network = network_for(
        TrainConfig(filters=(4,), kernel_size=(1,), dense_width=(8,), batch_norm=False)
    )
    convolutions = 64 * 1 * 4 + (16 + 4 + 1 + 1) * 4 * 4
    assert count_flops(network, 8, 1) == 2 * (convolutions + 4 * 8 + 8 * 5)


def test_counting_flops_changes_nothing() -> None:
    network = network_for(TrainConfig(filters=(4,)))
    network.model.get_submodule("block1").eval()
    before = (
        {n: t.clone() for n, t in network.state_dict().items()},
        [m.training for m in network.modules()],
    )
    count_flops(network, 8, 1)
    assert same(before[0], network.state_dict()) == list(before[0])
    assert [m.training for m in network.modules()] == before[1]


def test_flops_of_a_transformer_include_its_attention() -> None:
    with torch.device("meta"):
        model = torchvision.models.vit_b_16()
    network = Network(model, "heads.head", 224, IMAGENET_MEAN, IMAGENET_MEAN)
    # torchvision states 17.56 GFLOPS of multiply-adds, by a counter that has the same rules
    assert count_flops(network, 224, 3) / 2e9 == pytest.approx(17.56, abs=0.01)


@pytest.mark.parametrize(
    ("model", "size", "says"),
    [
        ("timm:vit_tiny_patch16_224", 8, "multiple of its 16-pixel patches.*made for 224"),
        ("timm:vit_tiny_patch16_224", 40, "multiple of its 16-pixel patches.*made for 224"),
        ("torchvision:vit_b_32", 40, "patch size.*made for 224"),
        ("torchvision:alexnet", 8, "too small.*made for 224"),
    ],
)
def test_an_image_size_that_the_model_cannot_take_is_an_error(
    model: str, size: int, says: str
) -> None:
    with pytest.raises(ValueError, match=f"image_size = {size}: {model} cannot take it .*{says}"):
        network_for(TrainConfig(model=model), size)


def test_a_transformer_takes_small_images_in_whole_patches() -> None:
    network = network_for(TrainConfig(model="vit_tiny_patch16_224"), 32, channels=3)
    assert network(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 5)


def test_the_auxiliary_classifier_speaks_in_training_alone() -> None:
    network = network_for(TrainConfig(model="inception_v3"), 299, channels=3)
    images = torch.zeros(2, 3, 299, 299)
    auxiliary = AuxiliaryLogits(network)
    assert network(images).shape == (2, 5)
    logits = auxiliary.take()
    assert logits is not None
    assert logits.shape == (2, 5)
    assert auxiliary.take() is None
    with torch.no_grad():
        assert network.eval()(images[:1]).shape == (1, 5)
    assert auxiliary.take() is None
    freeze(network, "all_but_head")
    network.train()(images)
    assert auxiliary.take() is None


def test_weights_are_looked_up_once_and_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "bare.pth"
    source = ModelSource.of(TrainConfig(model="squeezenet1_1", weights=str(path), image_size=32))
    assert source.image_size == 32
    assert source.drawn().state is None
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    assert source.state is not None
    path.unlink()
    assert source.pretraining is not None
    assert source.pretraining.image_size == 224


def test_the_size_that_data_should_have(tmp_path: Path) -> None:
    def input_size(config: TrainConfig, run_folder: Path | None = None) -> int | None:
        return ModelSource.of(config, run_folder).image_size

    assert input_size(TrainConfig()) is None
    assert input_size(TrainConfig(model="resnet18")) is None
    assert input_size(TrainConfig(model="resnet18", weights="imagenet")) == 224
    assert input_size(TrainConfig(model="inception_v3", weights="imagenet")) == 299
    assert input_size(TrainConfig(model="timm:vit_base_patch16_384", weights="imagenet")) == 384
    assert input_size(TrainConfig(model="inception_v3", weights="imagenet", image_size=96)) == 96
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "bare.pth")
    assert input_size(TrainConfig(model="squeezenet1_1", weights=str(tmp_path / "bare.pth"))) == 224
    Run.create(tmp_path / "sized", TrainConfig(image_size=48))
    assert input_size(TrainConfig(weights="run:sized"), tmp_path / "target") == 48
    Run.create(tmp_path / "pretrained", TrainConfig(model="inception_v3", weights="imagenet"))
    assert input_size(TrainConfig(weights=str(tmp_path / "pretrained"))) == 299


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_images_are_what_the_definition_says(channels: int) -> None:
    """Of stored pixels and of augmented ones; grey ones too, for a model of colour."""
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    network = Network(nn.Conv2d(3, 1, 1), "head", 8, mean, std)
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(256, (4, 8, 6, channels), dtype=torch.uint8, generator=generator)
    before = stored.clone()
    scaled = stored.permute(0, 3, 1, 2).double() / 255
    middle, spread = (torch.tensor(one).double().view(1, 3, 1, 1) for one in (mean, std))
    expected = (scaled.expand(4, 3, 8, 6) - middle) / spread
    for images in (stored, scaled.float(), scaled.float().contiguous()):
        normalised = network.normalise(images)
        assert normalised.dtype == torch.float32
        torch.testing.assert_close(normalised.double(), expected, rtol=0, atol=2e-6)
        assert normalised.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(stored, before)
    assert torch.equal(scaled, before.permute(0, 3, 1, 2).double() / 255)
