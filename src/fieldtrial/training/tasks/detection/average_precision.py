"""Mean average precision of detections."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.data.splits import Indices

MOST = 100  # detections of an image that count: those with the highest scores


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in an image.

    Attributes:
        corners: float32 (k, 4), left, top, right and bottom, in pixels of the square image.
        scores: float32 (k,), falling.
        labels: int64 (k,).
    """

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: Indices


def mean_average_precision(
    found: Sequence[Found], boxes: Boxes, index: Indices, side: int
) -> dict[str, float]:
    """Return map, over overlaps (IoU) of 0.5 to 0.95 in steps of 0.05, and map50, at 0.5.

    It is COCO's (T.-Y. Lin et al. 2014), with 101 points of recall, at most MOST detections of an
    image, and crowds that are neither found nor missed. Classes without a box do not count. Both
    are 0 where the images have no box at all.

    Args:
        found: what was found in each image of `index`.
        boxes: of all images, in shares of the square images.
        index: numbers of images.
        side: of the square images in pixels.
    """
    from torchmetrics.detection import MeanAveragePrecision  # late: takes seconds

    metric = MeanAveragePrecision(backend="pycocotools")
    metric.warn_on_many_detections = False
    answers = [
        {
            "boxes": torch.from_numpy(one.corners),
            "scores": torch.from_numpy(one.scores),
            "labels": torch.from_numpy(one.labels),
        }
        for one in found
    ]
    own = [boxes.of(number) for number in index.tolist()]
    truths = [
        {
            "boxes": torch.from_numpy(boxes.corners[part] * np.float32(side)),
            "labels": torch.from_numpy(boxes.labels[part]),
            "iscrowd": torch.from_numpy(boxes.crowds[part].astype(np.int64)),
        }
        for part in own
    ]
    if not any((~boxes.crowds[part]).any() for part in own):
        return {"map": 0.0, "map50": 0.0}
    metric.update(answers, truths)
    values = metric.compute()
    return {"map": float(values["map"]), "map50": float(values["map_50"])}
