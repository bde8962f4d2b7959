"""What layers make of images, against the same worked out by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fieldtrial.disk.run import Run
from fieldtrial.insight import maps
from fieldtrial.insight.subject import Subject, last_map, mapping_layers, open_subject, sample
from fieldtrial.training.distributed.world import World


def test_filters_of_the_first_convolution_each_stretched_to_its_range(subject: Subject) -> None:
    name, filters = maps.first_filters(subject)
    weight = subject.network.model.get_parameter(f"{name}.weight")
    assert name == "block1.convolution"
    assert filters.shape == (8, 3, 3, 1)
    assert (filters.min((1, 2, 3)) == 0).all()
    assert (filters.max((1, 2, 3)) == 1).all()
    assert (filters[3].argmax(), filters[3].argmin()) == (
        weight[3].argmax().item(),
        weight[3].argmin().item(),
    )


def test_feature_maps_are_the_layers_own(subject: Subject) -> None:
    image = sample(subject, 1)[0]
    given = maps.feature_maps(subject, image, ["block1", "block2.convolution"])
    first = subject.network.model.get_submodule("block1")(subject.images([image]))
    second = subject.network.model.get_submodule("block2.convolution")(first)
    assert np.allclose(given["block1"], first[0].numpy())
    assert np.allclose(given["block2.convolution"], second[0].numpy())
    assert maps.blocks(subject) == ["block1.convolution", "block2.convolution"]


class Guided(torch.autograd.Function):
    """A ReLU whose gradient passes where both the input and the gradient are positive."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(values)
        return values.clamp_min(0)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        (values,) = context.saved_tensors
        passed: torch.Tensor = gradient.clamp_min(0) * (values > 0)
        return passed


def test_guided_backpropagation_is_that_of_springenberg(subject: Subject) -> None:
    found = maps.guided_backpropagation(subject, "block2.convolution", neurons=3)
    assert len(found) == 3
    assert len({one.channel for one in found}) == 3
    first, second = (subject.network.model.get_submodule(f"block{number}") for number in (1, 2))
    for one in found:
        images = subject.images([one.image]).requires_grad_()
        values = images
        for module in first.children():
            values = Guided.apply(values) if isinstance(module, nn.ReLU) else module(values)
        answers = second.get_submodule("convolution")(values)[0, one.channel]
        assert answers.argmax().item() == one.place[0] * answers.shape[1] + one.place[1]
        answers[one.place].backward()
        assert images.grad is not None
        expected = images.grad[0].clamp_min(0).permute(1, 2, 0).numpy()
        assert expected.max() > 0
        assert np.allclose(one.gradient, expected, atol=1e-6)


def test_grad_cam_is_that_of_selvaraju(subject: Subject) -> None:
    image = sample(subject, 1)[0]
    heat = maps.grad_cam(subject, "block1", image, target=2)
    given = subject.network.model.get_submodule("block1")(subject.images([image])).requires_grad_()
    values = given
    for name, module in subject.network.model.named_children():
        values = values if name == "block1" else module(values)
    (gradient,) = torch.autograd.grad(values[0, 2], given)
    weights = gradient.mean((2, 3), keepdim=True)
    small = (weights * given).sum(1, keepdim=True).clamp_min(0)
    expected = functional.interpolate(small, (8, 8), mode="bilinear")[0, 0].detach()
    assert expected.max() > 0
    assert np.allclose(heat, (expected / expected.max()).numpy(), atol=1e-5)


def test_without_relu_it_is_said_that_nothing_guides(
    trained: Callable[..., Run], subject: Subject
) -> None:
    smooth = open_subject(trained(activation="tanh"), World())
    assert maps.guides(subject)
    assert not maps.guides(smooth)


def test_a_layer_that_there_is_not_is_refused_with_those_that_there_are(subject: Subject) -> None:
    assert last_map(subject) == "block2.activation"  # the block ends with pooling
    with pytest.raises(
        ValueError,
        match=r"layer = 'block1.conv': cnn has no layer.*close: block1.convolution.*its blocks",
    ):
        maps.find_layer(subject, "block1.conv")
    assert "head" not in mapping_layers(subject)


def test_a_perceptron_has_no_maps(trained: Callable[..., Run]) -> None:
    perceptron = open_subject(trained(model="mlp"), World())
    with pytest.raises(ValueError, match="mlp has no layer with a spatial output"):
        mapping_layers(perceptron)
    with pytest.raises(ValueError, match="mlp has no convolution"):
        maps.first_filters(perceptron)


def test_a_model_whose_relus_write_in_place(trained: Callable[..., Run]) -> None:
    residual = open_subject(
        trained(model="resnet18", image_size=32, epochs=1, images_per_class=4), World()
    )
    found = maps.guided_backpropagation(residual, "layer1.1", neurons=2)
    assert [one.gradient.shape for one in found] == [(32, 32, 3)] * 2
    assert all(one.gradient.max() > 0 for one in found)
    assert maps.grad_cam(residual, "layer3", sample(residual, 1)[0], 0).shape == (32, 32)
    assert last_map(residual) == "layer3"  # at 32 pixels layer4 gives one
    image = sample(residual, 1)[0]
    block = residual.network.model.get_submodule("layer1.0")
    given = maps.feature_maps(residual, image, ["layer1.0.bn2", "layer1.0"])
    entering = maps.feature_maps(residual, image, ["maxpool"])["maxpool"]
    assert (
        given["layer1.0.bn2"].min() < 0
    )  # before the shortcut is added, which a block does in place
    assert np.allclose(
        np.maximum(given["layer1.0.bn2"] + entering, 0), given["layer1.0"], atol=1e-6
    )
    # channels last, as the model gets it: convolutions sum in another order otherwise
    enters = torch.from_numpy(entering.copy("C"))[None].contiguous(
        memory_format=torch.channels_last
    )
    assert block(enters)[0].numpy() == pytest.approx(given["layer1.0"], abs=1e-6)
    assert maps.blocks(residual)[:3] == ["conv1", "layer1.0", "layer1.1"]
