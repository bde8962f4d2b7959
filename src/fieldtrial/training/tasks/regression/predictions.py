"""A network's numbers for all images of a split, in their unit, gathered from all processes."""

from dataclasses import dataclass

import numpy as np

from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.metrics import Values
from fieldtrial.metrics_of import numbers
from fieldtrial.training.data.labels.load import NumberData
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.inference import outputs_of
from fieldtrial.training.models.network import Network


@dataclass(frozen=True, eq=False)
class NumberScores:
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

    def scores(self) -> dict[str, float]:
        """Return the loss, and the metrics of `numbers.summary`."""
        loss = float(np.square((self.value - self.target) / self.deviation).mean())
        return {"loss": loss, **numbers.summary(self.target, self.value)}

    def metrics(self, split: str) -> dict[str, float]:
        """Return {split}_NAME for each of the scores."""
        return {f"{split}_{name}": value for name, value in self.scores().items()}

    def arrays(self) -> tuple[Values, Values]:
        """Return the numbers and what is right, in their unit, float64 (n, 1) each."""
        return self.value[:, None], self.target[:, None]

    def write(self, path: Inside) -> None:
        """Write the arrays, atomically, as the .npz file that results.read.answers reads."""
        own = np.array([self.deviation])
        write_arrays(path, index=self.index, target=self.target, value=self.value, deviation=own)


def answer(network: Network, data: Data, indices: Indices, attempt: Attempt) -> NumberScores:
    """Return, to all processes, the answers of `network`, in evaluation mode, for images."""
    whole, positions = data.whole, data.positions(indices)
    assert isinstance(whole, NumberData)
    outputs = outputs_of(network, data, indices, attempt).numpy()
    target, value = whole.numbers[positions], whole.in_units(outputs)
    return NumberScores(positions, target, value, whole.deviation)


def score_split(network: Network, data: Data, split: Split, attempt: Attempt) -> NumberScores:
    """Return, to all processes, the answers of `network`, in evaluation mode, for `split`.

    Raises:
        Diverged: its answer for some image is not finite.
    """
    found = answer(network, data, getattr(data, split), attempt)
    if not np.isfinite(found.value).all():
        raise Diverged(f"an answer for a {split} image is not finite with the kept epoch's weights")
    return found
