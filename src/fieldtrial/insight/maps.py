"""Explanations of a network's layers: filters, feature maps, guided backpropagation, Grad-CAM."""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fieldtrial.insight.subject import (
    NothingToDrawError,
    Subject,
    as_map,
    has_channels_last,
    mapping_layers,
    sample,
)
from fieldtrial.training.freezing.depth_axis import units

EXCITING_IMAGES = 256  # searched for the one that excites a neuron most
BATCH = 32

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Excitation:
    """The image that excites a neuron most.

    Attributes:
        channel, place: the neuron's, with place as (row, column) in its layer's map.
        image: position in the store.
        gradient: of the neuron's activation, float32 (height, width, channels), not negative.
    """

    channel: int
    place: tuple[int, int]
    image: int
    gradient: Image


def first_filters(subject: Subject) -> tuple[str, Image]:
    """Return the name and the filters of the first convolution.

    Filters are float32 (filters, side, side, input channels), each scaled to [0, 1].

    Raises:
        ValueError: the model has no convolution.
    """
    for name, module in subject.network.model.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().float().permute(0, 2, 3, 1).cpu()
            low, high = (getattr(weight, end)((1, 2, 3), keepdim=True) for end in ("amin", "amax"))
            return name, ((weight - low) / (high - low).clamp_min(1e-12)).numpy()
    raise NothingToDrawError(f"{subject.run.path}: {subject.config.model} has no convolution")


def blocks(subject: Subject) -> list[str]:
    """Return the names of the units of the depth axis that give maps."""
    giving = set(mapping_layers(subject))
    return [unit.name for unit in units(subject.network) if unit.name in giving]


def find_layer(subject: Subject, name: str) -> str:
    """Return `name` if that layer gives maps. Raises ValueError with a list of those that do."""
    known = mapping_layers(subject)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=4)
        raise ValueError(
            f"layer = {name!r}: {subject.config.model} has no layer of that name whose output is"
            " spatial"
            + (f"; close: {', '.join(close)}" if close else "")
            + f"; its blocks: {', '.join(blocks(subject))}; its layers: {', '.join(known)}"
        )
    return name


def feature_maps(subject: Subject, image: int, layers: Sequence[str]) -> dict[str, Image]:
    """Return the outputs of `layers` for an image: float32 (channels, height, width) each.

    `image` is its position in the store.
    """
    outputs = subject.outputs(layers, [image])
    return {name: _map(outputs[name])[0].float().cpu().numpy() for name in layers}


def guided_backpropagation(
    subject: Subject, layer: str, neurons: int, seed: int = 0
) -> list[Excitation]:
    """Return, for `neurons` neurons of a layer, the image that excites each most.

    Springenberg et al. 2015: negative gradients are set to 0 at every ReLU and in the end. The
    channels are drawn by `seed` among those that are active at all. Each neuron is at the place of
    its channel's strongest activation among EXCITING_IMAGES images of the split. In a model without
    ReLU modules the gradient is the plain one; see `guides`.
    """
    from captum.attr import NeuronGuidedBackprop  # late: it imports matplotlib

    pool = sample(subject, EXCITING_IMAGES, seed)
    strongest = torch.cat(
        [
            _strongest(subject, layer, pool[start : start + BATCH])
            for start in range(0, len(pool), BATCH)
        ]
    )
    answers = strongest[:, :, 0]  # (images, channels)
    firing = torch.nonzero(answers.amax(0) > 0).flatten().numpy()
    channels = np.sort(np.random.default_rng(seed).permutation(firing)[:neurons]).tolist()
    method = NeuronGuidedBackprop(subject.network.model, _module(subject, layer))
    is_last = has_channels_last(subject.outputs([layer], pool[:1])[layer])
    found = []
    for channel in channels:
        best = int(answers[:, channel].argmax())
        place = (int(strongest[best, channel, 1]), int(strongest[best, channel, 2]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum warns that it sets hooks
            neuron = (*place, channel) if is_last else (channel, *place)
            gradient = method.attribute(subject.images([pool[best]]), neuron)
        positive = gradient[0].clamp_min(0).permute(1, 2, 0).detach().float().cpu().numpy()
        found.append(Excitation(channel, place, pool[best], positive))
    return found


def guides(subject: Subject) -> bool:
    """Return whether the model has ReLU modules, which guided backpropagation needs."""
    return any(isinstance(module, nn.ReLU) for module in subject.network.model.modules())


def grad_cam(subject: Subject, layer: str, image: int, target: int) -> Image:
    """Return the Grad-CAM map of class `target` in an image: float32 (height, width), 0 to 1.

    Selvaraju et al. 2017: the layer's maps, weighted by the class score's mean gradient; the
    positive part is enlarged to the image's size.
    """
    images, kept = subject.images([image]).requires_grad_(), list[Tensor]()
    hook = _module(subject, layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        score = subject.network.model(images)[0, target]
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(score, kept[-1])
    weights = _map(gradient).mean((2, 3), keepdim=True)
    small = (weights * _map(kept[-1])).sum(1, keepdim=True).clamp_min(0)
    side = images.shape[2:]
    heat = functional.interpolate(small, side, mode="bilinear")[0, 0].detach().float().cpu()
    numbers: Image = (heat / heat.max().clamp_min(1e-12)).numpy()
    return numbers


def _strongest(subject: Subject, layer: str, images: Sequence[int]) -> Tensor:
    """Return each channel's strongest activation by each image, and its place.

    The shape is (images, channels, 3), with activation, row and column.
    """
    output = _map(subject.outputs([layer], images)[layer])
    values, places = output.float().reshape(*output.shape[:2], -1).max(2)
    width = output.shape[3]
    return torch.stack([values, places // width, places % width], dim=2).cpu()


def _map(output: Tensor) -> Tensor:
    found = as_map(output)
    assert found is not None, "the layer was found among those with a map"
    return found


def _module(subject: Subject, name: str) -> nn.Module:
    return subject.network.model.get_submodule(name)
