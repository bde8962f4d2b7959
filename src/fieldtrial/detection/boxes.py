"""Detections: the boxes, scores and classes of the objects that were found in an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects found in an image, in the order of falling scores.

    Attributes:
        boxes: float32 (n, 4), left, top, right and bottom, in pixels of the image.
        scores: float32 (n,), in [0, 1].
        labels: int64 (n,), numbers of classes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)
