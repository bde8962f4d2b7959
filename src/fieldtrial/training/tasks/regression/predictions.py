"""A network's numbers for all images of a split, in their unit, gathered from all processes."""

from dataclasses import dataclass

import numpy as np

from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.metrics import Values
from fieldtrial.metrics_of import numbers
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.tasks.of_images import ImageScores


@dataclass(frozen=True, eq=False)
class NumberScores(ImageScores):
    """The answers for images.

    Attributes:
        index: the images' positions in the data set's store, int64 (n,).
        target, value: the true numbers and the network's, in their unit, float64 (n,).
        deviation: of the training images' numbers: the unit of what is learned.
    """

    index: Indices
    target: Values
    value: Values
    deviation: float

    @property
    def is_finite(self) -> bool:
        """Whether every answer is a finite number."""
        return bool(np.isfinite(self.value).all())

    def scores(self) -> dict[str, float]:
        """Return the loss, and the metrics of `numbers.summary`."""
        loss = float(np.square((self.value - self.target) / self.deviation).mean())
        return {"loss": loss, **numbers.summary(self.target, self.value)}

    def arrays(self) -> tuple[Values, Values]:
        """Return the numbers and what is right, in their unit, float64 (n, 1) each."""
        return self.value[:, None], self.target[:, None]

    def write(self, path: Inside) -> None:
        """Write the arrays, atomically, as the .npz file that results.read.answers reads."""
        own = np.array([self.deviation])
        write_arrays(path, index=self.index, target=self.target, value=self.value, deviation=own)
