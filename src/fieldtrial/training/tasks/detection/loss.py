"""The loss of YOLOv3: where objects are, and which, from the raw outputs of all heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fieldtrial.detection.darknet.heads import Head

LARGEST = 10.0  # of the logarithm of a side over its anchor's, so that areas stay finite


@dataclass(frozen=True, eq=False)
class Grid:
    """The predictions of all heads, side by side: P of them for an image.

    The predictions of a head with k anchors and a grid of r rows and c columns are in the order of
    anchor, row and column.

    Attributes:
        anchors: (P, 2), width and height of a prediction's anchor, in shares of the image.
        cells: (P, 2), column and row of its cell.
        counts: (P, 2), columns and rows of its head's grid.
        scales: (P,), its head's scale_x_y.
        ignore: (P,), its head's ignore_thresh.
        heads: (K, 6), for each anchor of all heads its width and height in shares of the image,
            the number of its first prediction, the columns and rows of its grid, and scale_x_y.
    """

    anchors: Tensor
    cells: Tensor
    counts: Tensor
    scales: Tensor
    ignore: Tensor
    heads: Tensor

    @classmethod
    def of(
        cls,
        heads: Sequence[Head],
        grids: Sequence[tuple[int, int]],
        side: int,
        device: torch.device,
    ) -> "Grid":
        """Return the grid of heads with (rows, columns) `grids`, for images of `side` pixels."""
        rows: list[Tensor] = []
        anchors: list[list[float]] = []
        first = 0
        for head, (high, wide) in zip(heads, grids, strict=True):
            for width, height in torch.as_tensor(head.anchors).tolist():
                own = [width / side, height / side]
                anchors.append([*own, first, wide, high, head.scale_x_y])
                row, column = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
                cell = torch.stack([column.flatten(), row.flatten()], 1).float()
                same = torch.tensor([*own, wide, high, head.scale_x_y, head.ignore_thresh])
                rows.append(torch.cat([cell, same.expand(len(cell), 6)], 1))
                first += high * wide
        table = torch.cat(rows).to(device)
        return cls(
            anchors=table[:, 2:4],
            cells=table[:, :2],
            counts=table[:, 4:6],
            scales=table[:, 6],
            ignore=table[:, 7],
            heads=torch.tensor(anchors, dtype=torch.float64).to(device, torch.float32),
        )

    def boxes(self, outputs: Tensor) -> Tensor:
        """Return the boxes (n, P, 4) of raw outputs (n, P, 5 + classes).

        Left, top, right and bottom are in shares of the image, and may be outside of it.
        """
        from torchvision.ops import box_convert  # late: takes seconds

        scales = self.scales[:, None]
        centre = outputs[..., :2].sigmoid() * scales - (scales - 1) / 2
        centre = (centre + self.cells) / self.counts
        sides = outputs[..., 2:4].clamp(max=LARGEST).exp() * self.anchors
        found: Tensor = box_convert(torch.cat([centre, sides], -1), "cxcywh", "xyxy")
        return found

    def assign(self, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return which prediction is responsible for each object, and what it should be.

        Args:
            boxes: (n, m, 4), centre, width and height in shares of the image.

        Returns:
            The numbers of the predictions, int64 (n, m); the targets of their first four outputs
            (n, m, 4), the first two as the sigmoids should be; and their heads' scale_x_y (n, m).
        """
        shapes = boxes[..., 2:]
        inner = torch.minimum(shapes[..., None, :], self.heads[:, :2]).prod(-1)
        union = shapes.prod(-1)[..., None] + self.heads[:, :2].prod(-1) - inner
        chosen = self.heads[(inner / union.clamp(min=1e-12)).argmax(-1)]  # (n, m, 6)
        anchors, counts, scales = chosen[..., :2], chosen[..., 3:5], chosen[..., 5]
        cells = (boxes[..., :2] * counts).floor().clamp(min=0).minimum(counts - 1)
        inside = boxes[..., :2] * counts - cells
        wide = scales[..., None]
        centre = ((inside + (wide - 1) / 2) / wide).clamp(0, 1)
        sides = (shapes.clamp(min=1e-6) / anchors).log()
        place = cells[..., 1] * counts[..., 0] + cells[..., 0]
        return (chosen[..., 2] + place).long(), torch.cat([centre, sides], -1), scales


class YoloLoss:
    """The loss of each image, as a sum over its predictions.

    J. Redmon, A. Farhadi, "YOLOv3: An Incremental Improvement", 2018, and the layer "yolo" of
    darknet (https://github.com/pjreddie/darknet). One prediction is responsible for an object: that
    of the cell with the object's centre, and of the anchor, among all heads, whose shape overlaps
    most with the object's. The loss is the sum of

    * of the responsible predictions, (2 − w·h)·(BCE(σ(x), tx) + BCE(σ(y), ty) + (tw − w')² / 2 +
      (th − h')² / 2), where x, y, w' and h' are raw outputs, tx and ty the centre in its cell, tw
      and th the logarithms of the sides over the anchor's, and w·h the object's share of the image;
    * of them, BCE(σ(objectness), 1), and BCE(σ(class), 1 or 0) for each class;
    * of all others whose box overlaps with no object by more than ignore_thresh,
      BCE(σ(objectness), 0).

    Its gradient is what darknet's layer hands down. Where one prediction is responsible for two
    objects, it learns the box of the later one, and the classes of both, as in darknet. With
    scale_x_y the targets of σ(x) and σ(y) are those that give the centre.
    """

    def __init__(self, grid: Grid, classes: int) -> None:
        self._grid = grid
        self._classes = classes

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (n,) of raw outputs (n, P, 5 + classes).

        targets: (n, m, 5), class, or -1 for padding, and centre, width and height in shares.
        """
        with torch.no_grad():
            there, boxes = targets[..., 0] >= 0, targets[..., 1:]
            places, wanted, scales = self._grid.assign(boxes)
            objects = outputs.new_zeros(outputs.shape[:2])
            objects.scatter_reduce_(1, places, there.to(outputs.dtype), "amax")
            counted = (objects > 0) | (self._overlaps(outputs, boxes) <= self._grid.ignore)
            hot, is_last = self._classes_of(targets[..., 0].long(), places, there)
            weights = is_last.to(outputs.dtype)
            sizes = (2 - boxes[..., 2] * boxes[..., 3]) * weights
        objectness = _entropy(outputs[..., 4], objects) * counted
        own = outputs.gather(1, places[..., None].expand(-1, -1, outputs.shape[2]))
        centre = _entropy(own[..., :2], wanted[..., :2]).sum(-1) * scales
        sides = (own[..., 2:4] - wanted[..., 2:]).square().sum(-1) / 2
        classes = _entropy(own[..., 5:], hot).sum(-1)
        each = sizes * (centre + sides) + weights * classes
        return objectness.sum(1) + each.sum(1)

    def _overlaps(self, outputs: Tensor, boxes: Tensor) -> Tensor:
        """Return how much each prediction's box overlaps with an object at most, (n, P).

        Padding has no area, and so overlaps with nothing.
        """
        from torchvision.ops import box_convert, box_iou  # late: takes seconds

        found, there = self._grid.boxes(outputs), box_convert(boxes, "cxcywh", "xyxy")
        pairs = zip(found, there, strict=True)  # one by one, for all at once take much memory
        return torch.stack([box_iou(own, objects).amax(1) for own, objects in pairs])

    def _classes_of(self, labels: Tensor, places: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Return each object's classes, 0 or 1 (n, m, classes), and whether it counts, (n, m).

        Of the objects of one prediction, the last one counts, with the classes of all.
        """
        same = (places[:, :, None] == places[:, None, :]) & there[:, :, None] & there[:, None, :]
        later = torch.ones_like(same[0]).triu(1)
        one_hot = functional.one_hot(labels.clamp(min=0), self._classes).to(torch.float32)
        return (same.float() @ one_hot).clamp(max=1), there & ~(same & later).any(2)


def _entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
