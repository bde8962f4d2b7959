"""What the raw outputs of a network mean: boxes, objectness and probabilities of classes."""

from collections.abc import Sequence
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
        truth_thresh: one that overlaps by more is a positive example; 1: only the best.
        iou_thresh: another anchor that overlaps by more is one, too; 1: only the best.
    """

    layer: int
    source: int
    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float = 1.0
    ignore_thresh: float = 0.5
    truth_thresh: float = 1.0
    iou_thresh: float = 1.0


def decode_head(output: Tensor, head: Head, stride: int) -> Tensor:
    """Return what a head's raw output says; gradients go through it.

    The source is YOLOv3 (Redmon and Farhadi 2018, arXiv:1804.02767); scale_x_y is YOLOv4's
    (Bochkovskiy et al. 2020, arXiv:2004.10934).

    Args:
        output: (n, anchors * (5 + classes), rows, columns).
        head: its head.
        stride: pixels of the network's input for each cell.

    Returns:
        (n, anchors * rows * columns, 5 + classes), in the order of anchor, row and column: centre
        x, centre y, width and height in pixels of the network's input, the probability of an
        object, and those of the classes if there is one.
    """
    n, _, rows, columns = output.shape
    values = output.view(n, len(head.anchors), 5 + head.classes, rows, columns)
    x = torch.arange(columns, dtype=output.dtype, device=output.device)
    y = torch.arange(rows, dtype=output.dtype, device=output.device)
    cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    anchors = _anchors(head, output)[:, None, None, :]
    return _decoded(values.permute(0, 1, 3, 4, 2), cells, anchors, head, stride).flatten(1, 3)


def decode_likely(output: Tensor, head: Head, stride: int, least: float) -> Tensor:
    """Return what `decode_head` says of one image, where an object's probability is at least so.

    output: (anchors * (5 + classes), rows, columns).

    Returns:
        (m, 5 + classes), in the order of anchor, row and column.
    """
    _, rows, columns = output.shape
    values = output.view(len(head.anchors), 5 + head.classes, rows, columns).permute(0, 2, 3, 1)
    anchor, row, column = (values[..., 4].sigmoid() >= least).nonzero(as_tuple=True)
    cells = torch.stack([column, row], 1).to(output.dtype)
    return _decoded(
        values[anchor, row, column], cells, _anchors(head, output)[anchor], head, stride
    )


def _anchors(head: Head, output: Tensor) -> Tensor:
    return torch.tensor(head.anchors, dtype=output.dtype, device=output.device)


def _decoded(values: Tensor, cells: Tensor, anchors: Tensor, head: Head, stride: int) -> Tensor:
    """Return the meaning of `values` (..., 5 + classes), in `cells` (..., 2: column, row)."""
    shift = (head.scale_x_y - 1) / 2
    centres = (values[..., :2].sigmoid() * head.scale_x_y - shift + cells) * stride
    sizes = values[..., 2:4].exp() * anchors
    return torch.cat([centres, sizes, values[..., 4:].sigmoid()], -1)


def decode(outputs: Sequence[Tensor], heads: Sequence[Head], size: tuple[int, int]) -> Tensor:
    """Return what the raw outputs of all heads say, one head behind the other.

    size: width and height of the network's input, in pixels.

    Returns:
        (n, boxes, 5 + classes), as `decode_head`.
    """
    return torch.cat(
        [
            decode_head(output, head, size[1] // output.shape[2])
            for output, head in zip(outputs, heads, strict=True)
        ],
        1,
    )
