"""A small network of YOLOv3's kind, and files of darknet's weights."""

from pathlib import Path

import numpy as np
from torch import nn

from fieldtrial.detection.darknet.layers import Convolution
from fieldtrial.detection.darknet.network import Darknet

YOLO = """
[yolo]
mask={mask}
anchors=20,20, 22,40, 40,22, 32,32, 44,44, 30,44
num=6
classes=3
ignore_thresh=.7
"""


def _convolutional(filters: int, size: int = 3, stride: int = 1, last: bool = False) -> str:
    kind = "activation=linear" if last else "batch_normalize=1\nactivation=leaky"
    return f"\n[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}\npad=1\n{kind}\n"


# Heads at 16 and at 8 pixels; the second one's fork is after layer 3.
DESCRIPTION = "".join(
    [
        "[net]\nwidth=64\nheight=64\nchannels=3\n",
        *(_convolutional(filters, stride=2) for filters in (16, 32, 48, 64)),
        _convolutional(24, size=1, last=True),  # 4
        YOLO.format(mask="3,4,5"),
        "\n[route]\nlayers=3\n",  # 6
        _convolutional(24, size=1),
        "\n[upsample]\nstride=2\n",
        "\n[route]\nlayers=-1,2\n",
        _convolutional(24, size=1, last=True),  # 10
        YOLO.format(mask="0,1,2"),
    ]
)


def write_description(folder: Path, batch_norm: bool = True) -> Path:
    path = folder / "small.cfg"
    path.write_text(DESCRIPTION.replace("batch_normalize=1\n", "batch_normalize=1\n" * batch_norm))
    return path


def write_weights(path: Path, network: Darknet) -> Path:
    """Write the weights of `network` as darknet does: of each convolution what is added first."""
    parts = [np.array([0, 2, 0], "<i4").tobytes(), np.array([0], "<i8").tobytes()]
    for layer in network.layers:
        if isinstance(layer, Convolution):
            norm, conv = layer.norm, layer.conv
            tensors = [conv.bias, conv.weight]
            if isinstance(norm, nn.BatchNorm2d):
                tensors = [norm.bias, norm.weight, norm.running_mean, norm.running_var, conv.weight]
            for tensor in tensors:
                assert tensor is not None
                parts.append(tensor.detach().numpy().astype("<f4").tobytes())
    path.write_bytes(b"".join(parts))
    return path
