"""A network's logits of all labels for all images of a split, gathered from all processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.metrics_of import labels
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.tasks.of_images import ImageScores


@dataclass(frozen=True, eq=False)
class LabelScores(ImageScores):
    """The answers for images.

    Attributes:
        index: the images' positions in the data set's store, int64 (n,).
        truth: uint8 (n, labels), 1 where an image has a label.
        logit: float32 (n, labels).
    """

    index: Indices
    truth: NDArray[np.uint8]
    logit: NDArray[np.float32]

    @property
    def is_finite(self) -> bool:
        """Whether every answer is a finite number."""
        return bool(np.isfinite(self.logit).all())

    def scores(self) -> dict[str, float]:
        """Return the loss, and the metrics of `labels.summary`; NaN where a logit is not finite."""
        if not self.is_finite:
            return dict.fromkeys(("loss", "map", "macro_f1", "micro_f1"), float("nan"))
        loss = float(labels.cross_entropy(self.truth, self.logit).mean())
        return {"loss": loss, **labels.summary(self.truth, self.logit)}

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the labels' probabilities and what is right, float32 (n, labels) each."""
        probability = np.exp(-np.logaddexp(0, -self.logit.astype(np.float64)))
        return probability.astype(np.float32), self.truth.astype(np.float32)

    def write(self, path: Inside) -> None:
        """Write the arrays, atomically, as the .npz file that results.read.answers reads."""
        write_arrays(path, index=self.index, truth=self.truth, logit=self.logit)
