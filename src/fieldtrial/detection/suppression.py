"""Non-maximum suppression: one box for each object."""

import torch
from torch import Tensor


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor | None, overlap: float) -> Tensor:
    """Return which boxes stay, by torchvision's greedy suppression, in the order of falling scores.

    A box goes if its intersection over union with a box of a higher score is above `overlap`.

    Args:
        boxes: (n, 4), left, top, right, bottom.
        scores: (n,).
        labels: (n,), a box suppresses only those with its label, as scores such as mAP expect it;
            None: all, because an object has one class.
        overlap: in [0, 1].

    Returns:
        int64, numbers of boxes.
    """
    from torchvision.ops import batched_nms, nms  # late: takes seconds

    boxes = boxes.float()
    if labels is None:
        kept: Tensor = nms(boxes, scores, overlap)
    else:
        kept = batched_nms(boxes, scores, labels, overlap)
    return kept.to(torch.int64)
