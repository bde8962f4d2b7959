"""What the layers of a network make of an image: first filters, feature maps, guided
backpropagation, Grad-CAM.
"""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fieldtrial.insight.subject import Subject, mapping_layers, sample
from fieldtrial.training.freezing.schemes import units

EXCITING_IMAGES = 256  # among which the one is looked for that excites a neuron the most
BATCH = 32

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Excitation:
    """What excites a neuron: `channel` and place (row, column) in its layer's map, the image (its
    position in the store) where it answers most of all, and the gradient of that answer, float32
    (height, width, channels), from 0 on.
    """

    channel: int
    place: tuple[int, int]
    image: int
    gradient: Image


def first_filters(subject: Subject) -> tuple[str, Image]:
    """Return the name and the filters of the first convolution: float32 (filters, side, side,
    channels in), in [0, 1].

    Each filter is stretched to its own range. Raises ValueError for a model without convolutions.
    """
    for name, module in subject.network.model.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().float().permute(0, 2, 3, 1).cpu()
            low, high = (getattr(weight, end)((1, 2, 3), keepdim=True) for end in ("amin", "amax"))
            return name, ((weight - low) / (high - low).clamp_min(1e-12)).numpy()
    raise ValueError(f"{subject.run.path}: {subject.config.model} has no convolution")


def blocks(subject: Subject) -> list[str]:
    """Return the names of the steps of the depth axis (see `freezing.units`) that give maps."""
    giving = set(mapping_layers(subject))
    return [unit.name for unit in units(subject.network) if unit.name in giving]


def find_layer(subject: Subject, name: str) -> str:
    """Return `name` if it is a layer that gives maps. Raises ValueError with those that
    there are.
    """
    known = mapping_layers(subject)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=4)
        raise ValueError(
            f"layer = {name!r}: {subject.config.model} has no layer of that name that gives maps"
            + (f"; close: {', '.join(close)}" if close else "")
            + f"; its blocks: {', '.join(blocks(subject))}; its layers: {', '.join(known)}"
        )
    return name


def feature_maps(subject: Subject, image: int, layers: Sequence[str]) -> dict[str, Image]:
    """Return what `layers` give for an image (its position in the store): float32 (channels,
    height, width) each.
    """
    given: dict[str, Tensor] = {}
    handles = [_listen(subject, name, given) for name in layers]
    try:
        with torch.no_grad():
            subject.network.model(subject.images([image]))
    finally:
        for handle in handles:
            handle.remove()
    return {name: given[name][0].float().cpu().numpy() for name in layers}


def guided_backpropagation(
    subject: Subject, layer: str, neurons: int, seed: int = 0
) -> list[Excitation]:
    """Return, for `neurons` neurons of a layer, the image that excites each most and the guided
    gradient of its answer.

    Springenberg et al. 2015: at every ReLU negative gradients are set to 0, and so they are in the
    end. The neurons are of channels drawn by `seed` among those that answer at all, each at the
    place of its strongest answer to some hundred images of the split. In a model without ReLU
    modules it is the plain gradient; see `guides`.
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
    found = []
    for channel in channels:
        best = int(answers[:, channel].argmax())
        place = (int(strongest[best, channel, 1]), int(strongest[best, channel, 2]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it sets hooks
            gradient = method.attribute(subject.images([pool[best]]), (channel, *place))
        positive = gradient[0].clamp_min(0).permute(1, 2, 0).detach().float().cpu().numpy()
        found.append(Excitation(channel, place, pool[best], positive))
    return found


def guides(subject: Subject) -> bool:
    """Return whether the model has ReLU modules, without which guided backpropagation is the plain
    gradient.
    """
    return any(isinstance(module, nn.ReLU) for module in subject.network.model.modules())


def grad_cam(subject: Subject, layer: str, image: int, target: int) -> Image:
    """Return where the network looks for class `target` in an image: float32 (height, width), 0 to
    1.

    Grad-CAM (Selvaraju et al. 2017): the layer's maps, weighted by the class score's mean gradient,
    their positive part enlarged to the image's size.
    """
    from captum.attr import LayerAttribution, LayerGradCam

    images = subject.images([image]).requires_grad_()
    method = LayerGradCam(subject.network.model, _module(subject, layer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = method.attribute(images, target, relu_attributions=True)
    heat = (
        LayerAttribution.interpolate(small, tuple(images.shape[2:]), "bilinear")[0, 0]
        .detach()
        .float()
        .cpu()
    )
    heat = heat / heat.max().clamp_min(1e-12)
    numbers: Image = heat.numpy()
    return numbers


def _strongest(subject: Subject, layer: str, images: Sequence[int]) -> Tensor:
    """Return each channel's strongest answer to each image, and where: (images, channels, (answer,
    row, column)).
    """
    given: dict[str, Tensor] = {}
    handle = _listen(subject, layer, given)
    try:
        with torch.no_grad():
            subject.network.model(subject.images(images))
    finally:
        handle.remove()
    values, places = given[layer].float().flatten(2).max(2)
    width = given[layer].shape[3]
    return torch.stack([values, places // width, places % width], dim=2).cpu()


def _listen(
    subject: Subject, name: str, given: dict[str, Tensor]
) -> torch.utils.hooks.RemovableHandle:
    def note(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        given[name] = output.clone()  # a residual block adds to its last norm's output in place

    return _module(subject, name).register_forward_hook(note)


def _module(subject: Subject, name: str) -> nn.Module:
    return subject.network.model.get_submodule(name)
