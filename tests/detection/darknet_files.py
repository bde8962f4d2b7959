"""Darknet's files for tests: a network of every layer type, weights, and the real ones."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fieldtrial.detection.darknet.layers import Convolution
from fieldtrial.detection.darknet.network import Darknet
from fieldtrial.detection.darknet.sections import parse_sections

REAL = Path(__file__).parents[2].parent / "shared/data/yolo"
needs_real = pytest.mark.skipif(
    not (REAL / "yolo-fastest-1.1-xl.weights").is_file(),
    reason="needs the real networks in ../shared/data/yolo",
)

# Each layer type, each activation, a maximum of stride 1, and heads of two sizes.
EVERY_LAYER = """
[net]
width=96
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=mish

[maxpool]
size=2
stride=1

[convolutional]
batch_normalize=1
filters=16
groups=4
size=3
pad=1
activation=relu

[shortcut]
from=-3
activation=linear

[route]
layers=4
groups=2
group_id=1

[convolutional]
filters=16
size=5
pad=1
activation=swish

[maxpool]
size=2
stride=2

[dropout]
probability=.2

[convolutional]
filters=21
size=1
activation=linear

[yolo]
mask=1,2,0
anchors=10,14, 23,27, 37,58
classes=2
num=3
scale_x_y=1.05

[route]
layers=-3

[convolutional]
batch_normalize=1
filters=8
size=1
activation=leaky

[upsample]
stride=2

[route]
layers=-1,6

[maxpool]
size=5
stride=1

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=0,2
anchors=10,14, 23,27, 37,58
classes=2
num=3
"""


def random_network(text: str = EVERY_LAYER, seed: int = 0) -> Darknet:
    """Return a network whose weights and statistics are drawn, so that many objects are found."""
    generator = torch.Generator().manual_seed(seed)
    network = Darknet(parse_sections(text, "net.cfg")).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            size = parameter[0].numel() ** -0.5 if parameter.dim() == 4 else 0.3
            parameter.normal_(0, size, generator=generator)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.2, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
    return network


def numbers_of(network: Darknet) -> list["np.ndarray[tuple[int], np.dtype[np.float32]]"]:
    """Return each convolution's numbers as darknet orders them."""
    found = []
    for layer in network.layers:
        if isinstance(layer, Convolution):
            if isinstance(layer.norm, nn.BatchNorm2d):
                norm = layer.norm
                parts = [norm.bias, norm.weight, norm.running_mean, norm.running_var]
            else:
                parts = [layer.conv.bias]
            tensors = [part for part in (*parts, layer.conv.weight) if part is not None]
            found.append(np.concatenate([t.detach().numpy().ravel() for t in tensors]))
    return found


def weights_bytes(network: Darknet, version: tuple[int, int, int] = (0, 2, 0)) -> bytes:
    """Return the network's weights as darknet writes them."""
    seen = struct.pack("<q" if version >= (0, 2, 0) else "<i", 32013312)
    numbers = np.concatenate(numbers_of(network)).astype("<f4")
    return struct.pack("<3i", *version) + seen + numbers.tobytes()
