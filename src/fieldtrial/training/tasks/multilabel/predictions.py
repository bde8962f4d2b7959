"""A network's logits of all labels for all images of a split, gathered from all processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.metrics_of import labels
from fieldtrial.training.data.labels.load import LabelData
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.inference import outputs_of
from fieldtrial.training.models.network import Network


@dataclass(frozen=True, eq=False)
class LabelScores:
    """The answers for images.

    Attributes:
        index: the images' positions in the data set's store, int64 (n,).
        truth: uint8 (n, labels), 1 where an image has a label.
        logit: float32 (n, labels).
    """

    index: Indices
    truth: NDArray[np.uint8]
    logit: NDArray[np.float32]

    def scores(self) -> dict[str, float]:
        """Return the loss, and the metrics of `labels.summary`; NaN where a logit is not finite."""
        if not np.isfinite(self.logit).all():
            return dict.fromkeys(("loss", "map", "macro_f1", "micro_f1"), float("nan"))
        loss = float(labels.cross_entropy(self.truth, self.logit).mean())
        return {"loss": loss, **labels.summary(self.truth, self.logit)}

    def metrics(self, split: str) -> dict[str, float]:
        """Return {split}_NAME for each of the scores."""
        return {f"{split}_{name}": value for name, value in self.scores().items()}

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the labels' probabilities and what is right, float32 (n, labels) each."""
        probability = np.exp(-np.logaddexp(0, -self.logit.astype(np.float64)))
        return probability.astype(np.float32), self.truth.astype(np.float32)

    def write(self, path: Inside) -> None:
        """Write the arrays, atomically, as the .npz file that results.read.answers reads."""
        write_arrays(path, index=self.index, truth=self.truth, logit=self.logit)


def answer(network: Network, data: Data, indices: Indices, attempt: Attempt) -> LabelScores:
    """Return, to all processes, the answers of `network`, in evaluation mode, for images."""
    whole, positions = data.whole, data.positions(indices)
    assert isinstance(whole, LabelData)
    logits = outputs_of(network, data, indices, attempt).numpy()
    return LabelScores(positions, whole.values[positions], logits)


def score_split(network: Network, data: Data, split: Split, attempt: Attempt) -> LabelScores:
    """Return, to all processes, the answers of `network`, in evaluation mode, for `split`.

    Raises:
        Diverged: its answer for some image is not finite.
    """
    found = answer(network, data, getattr(data, split), attempt)
    if not np.isfinite(found.logit).all():
        raise Diverged(f"an answer for a {split} image is not finite with the kept epoch's weights")
    return found
