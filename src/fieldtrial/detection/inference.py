"""A network that only infers: faster, with the same outputs."""

import copy

import torch
from torch import Tensor, nn

from fieldtrial.detection.darknet.layers import Convolution
from fieldtrial.detection.darknet.network import Darknet


class Converted(nn.Module):
    """A layer that takes images of any type, computes in its own, and hands on `made`."""

    def __init__(self, layer: nn.Module, own: torch.dtype, made: torch.dtype) -> None:
        super().__init__()
        self.layer, self.own, self.made = layer.to(own), own, made

    def forward(self, images: Tensor) -> Tensor:
        """Return the layer's output."""
        found: Tensor = self.layer(images.to(self.own))
        return found.to(self.made)


def for_inference(network: Darknet, device: torch.device, dtype: torch.dtype) -> Darknet:
    """Return a copy of `network` on `device` with batch normalisation folded into convolutions.

    It takes float32 images and returns float32. In between it computes in `dtype`, with channels
    last in memory.
    """
    made = copy.deepcopy(network).eval().requires_grad_(False)
    for layer in made.layers:
        if isinstance(layer, Convolution) and isinstance(layer.norm, nn.BatchNorm2d):
            _fold(layer.conv, layer.norm)
            layer.norm = nn.Identity()
    if dtype != torch.float32:
        heads = {head.source for head in made.heads}
        for number, layer in enumerate(made.layers):
            if number and number not in heads:
                layer.to(dtype)
        # With the three channels of images, oneDNN is eight times slower in bf16.
        first = torch.float32 if device.type == "cpu" else dtype
        made.layers[0] = Converted(made.layers[0], first, dtype)
        # Three digits would be too few for the sides of boxes.
        for number in heads:
            made.layers[number] = Converted(made.layers[number], torch.float32, torch.float32)
    return made.to(device).to(memory_format=torch.channels_last)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Change `conv` so that it computes what both do one after the other."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    # In double precision: the quotient by a small deviation would lose digits.
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * scale
    kernels = conv.weight.double() * scale[:, None, None, None]
    conv.weight = nn.Parameter(kernels.float(), requires_grad=False)
    conv.bias = nn.Parameter(bias.float(), requires_grad=False)
