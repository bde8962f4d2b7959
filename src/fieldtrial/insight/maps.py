"""First filters, feature maps, guided backpropagation and Grad-CAM of a network."""

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
    """The image that excites a neuron most.

    channel, place: of the neuron in its layer's map, the place as row and column.
    image: its position in the store.
    gradient: of the neuron's activation, float32 (height, width, channels), not negative.
    """

    channel: int
    place: tuple[int, int]
    image: int
    gradient: Image


def first_filters(subject: Subject) -> tuple[str, Image]:
    """Return the name and the filters of the first convolution.

    The filters are float32 (filters, side, side, channels in), each stretched to [0, 1]. Raises
    ValueError for a model without convolutions.
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
    """Return `name` if it is a layer that gives maps. Raises ValueError with the choices."""
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
    """Return each layer's output for an image of the store: float32 (channels, height, width)."""
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
    """Return the image that excites each of `neurons` neurons most, and its guided gradient.

    Springenberg et al. 2015: negative gradients are set to 0 at every ReLU, and in the result. The
    neurons are of channels drawn by `seed` among those with a positive activation, each at the
    place of its strongest activation over some hundred images of the split. In a model without
    ReLU modules it is the plain gradient; see `guides`.
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
    """Return whether the model has ReLU modules, which guide the gradient."""
    return any(isinstance(module, nn.ReLU) for module in subject.network.model.modules())


def grad_cam(subject: Subject, layer: str, image: int, target: int) -> Image:
    """Return the Grad-CAM heat map of class `target`: float32 (height, width), 0 to 1.

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
    """Return each channel's strongest activation as (images, channels, [value, row, column])."""
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
