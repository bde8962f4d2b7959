"""A network that only infers: faster, with the same outputs."""

import copy

import torch
from torch import Tensor, nn

from fieldtrial.detection.darknet.layers import Convolution
from fieldtrial.detection.darknet.network import Darknet


def for_inference(network: Darknet, device: torch.device, dtype: torch.dtype) -> Darknet:
    """Return a copy of `network` on `device` with batch normalisation folded into convolutions.

    Convolutions compute in `dtype`, with channels last in memory.
    """
    made = copy.deepcopy(network).eval()
    for layer in made.layers:
        if isinstance(layer, Convolution) and isinstance(layer.norm, nn.BatchNorm2d):
            layer.conv = _folded(layer.conv, layer.norm)
            layer.norm = nn.Identity()
    made.requires_grad_(False)
    return made.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a convolution that computes what `conv` and `norm` do one after the other."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    # In double precision: the quotient of a small deviation would lose digits.
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * scale
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
    )
    kernels: Tensor = conv.weight.double() * scale[:, None, None, None]
    with torch.no_grad():
        folded.weight.copy_(kernels)
        assert folded.bias is not None
        folded.bias.copy_(bias)
    return folded
