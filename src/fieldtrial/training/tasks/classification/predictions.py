"""A network's answers for all images of a split, gathered from all processes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fieldtrial import metrics
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.inside import Inside
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.batches import Batch
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.inference import gathered, infer
from fieldtrial.training.models.network import Network


@dataclass(frozen=True, eq=False)
class ClassScores:
    """The answers for a split's images.

    Attributes:
        index: the images' positions in the data set's store, int64 (n,).
        label: their classes, int64 (n,).
        log_probability: natural logarithms, float32 (n, classes).
        loss: the mean cross-entropy, from the logits.
    """

    index: Indices
    label: Indices
    log_probability: NDArray[np.float32]
    loss: float

    def metrics(self, split: str) -> dict[str, float]:
        """Return {split}_loss, and {split}_NAME for each metric of `metrics.summary`."""
        values = {"loss": self.loss, **metrics.summary(self.label, self.log_probability)}
        return {f"{split}_{name}": value for name, value in values.items()}

    def arrays(self) -> tuple[NDArray[np.float32], Indices]:
        """Return the probabilities, float32 (n, classes), and the labels."""
        return np.exp(self.log_probability), self.label

    def write(self, path: Inside) -> None:
        """Write the arrays, atomically, as the .npz file that results.read.predictions reads."""
        write_arrays(path, index=self.index, label=self.label, log_probability=self.log_probability)


@torch.no_grad()
def answers(
    network: Network, data: Data, indices: Indices, attempt: Attempt
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Yield this process's batches of the images `indices`, in order, each with its logits.

    With test_flips, the softmax of the logits is the mean of the probabilities of the image and of
    its mirror image (A. Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural
    Networks", NIPS 2012, section 4.1, without the crops there). `data` then has images, no features
    of frozen layers.
    """
    for batch, logits in infer(network, data, indices, attempt):
        if not attempt.config.test_flips:
            yield batch, logits
            continue
        mirrored = network(batch.images.flip(2))
        both = torch.logaddexp(logits.log_softmax(1), mirrored.log_softmax(1))
        yield batch, both - math.log(2)


def score_split(network: Network, data: Data, split: Split, attempt: Attempt) -> ClassScores:
    """Return, to all processes, the answers of `network`, in evaluation mode, for `split`.

    Raises:
        Diverged: its answer for some image is not finite.
    """
    index: Indices = getattr(data, split)
    logits = gathered(answers(network, data, index, attempt), attempt)
    label = data.labels[index]
    losses = functional.cross_entropy(logits, torch.from_numpy(label), reduction="none")
    loss = losses.double().mean().item()
    if not torch.isfinite(logits).all():
        raise Diverged(f"the {split} loss is {loss} with the kept epoch's weights")
    return ClassScores(
        data.positions(index), label, metrics.log_probabilities(logits.numpy()), loss
    )
