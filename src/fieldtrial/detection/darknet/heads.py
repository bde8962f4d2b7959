"""What the raw outputs of a network mean: boxes, objectness and probabilities of classes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """A `[yolo]` layer: what the raw outputs of the layer before it mean.

    A raw output is (n, anchors * (5 + classes), rows, columns): of each anchor x, y, width, height,
    objectness and the classes.

    Attributes:
        layer: its number.
        source: the number of the layer with the raw outputs, a convolution.
        anchors: (width, height) of each anchor, in pixels of the network's input.
        classes: how many there are.
        scale_x_y: how far a centre can leave its cell; 1: not at all.
        ignore_thresh: a prediction that overlaps an object by more is no negative example.
    """

    layer: int
    source: int
    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float = 1.0
    ignore_thresh: float = 0.5


def decode(output: Tensor, head: Head, stride: int, least: float = 0.0) -> Tensor:
    """Return what a head's raw output says of one image; gradients go through it.

    The source is YOLOv3 (Redmon and Farhadi 2018, arXiv:1804.02767); scale_x_y is YOLOv4's
    (Bochkovskiy et al. 2020, arXiv:2004.10934).

    Args:
        output: (anchors * (5 + classes), rows, columns).
        head: its head.
        stride: pixels of the network's input for each cell.
        least: predictions with a lower probability of an object are left out.

    Returns:
        (m, 5 + classes), in the order of anchor, row and column: centre x, centre y, width and
        height in pixels of the network's input, the probability of an object, and those of the
        classes if there is one.
    """
    _, rows, columns = output.shape
    every = output.view(len(head.anchors), 5 + head.classes, rows, columns).permute(0, 2, 3, 1)
    anchor, row, column = (every[..., 4].sigmoid() >= least).nonzero(as_tuple=True)
    values = every[anchor, row, column]
    cells = torch.stack([column, row], 1).to(output.dtype)
    anchors = torch.tensor(head.anchors, dtype=output.dtype, device=output.device)[anchor]
    shift = (head.scale_x_y - 1) / 2
    centres = (values[:, :2].sigmoid() * head.scale_x_y - shift + cells) * stride
    sizes = values[:, 2:4].exp() * anchors
    return torch.cat([centres, sizes, values[:, 4:].sigmoid()], -1)
