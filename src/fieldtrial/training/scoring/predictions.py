"""What a network says of the images of a split, gathered from all processes: the metrics of a
result, and its file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fieldtrial import metrics
from fieldtrial.disk.files import write_arrays
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.epoch import Diverged, forward
from fieldtrial.training.models.network import Network

Split = Literal["validation", "test"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """`index` and `label`, int64 (n,), say which images of the data set's store these are, and of
    which classes.

    `probability` is float32 (n, classes); `loss` is the mean cross-entropy, from the logits.
    """

    index: Indices
    label: Indices
    probability: NDArray[np.float32]
    loss: float

    def scores(self, split: str) -> dict[str, float]:
        """Return {split}_loss, and the metrics of `metrics.summary` likewise."""
        values = metrics.summary(self.label, self.probability)
        return {f"{split}_{name}": value for name, value in {"loss": self.loss, **values}.items()}

    def write(self, path: Path) -> None:
        """Write the arrays, whole or not at all, as an .npz file that
        fieldtrial.results.read.predictions reads.
        """
        write_arrays(path, index=self.index, label=self.label, probability=self.probability)


def predict(
    network: Network, data: Data, split: Split, batch_size: int, world: World, accumulate: int = 1
) -> Predictions:
    """Return what `network`, in evaluation mode, says of each image of `split`, once: to all
    processes.

    Raises:
        Diverged: its answer for some image is not finite.
    """
    index: Indices = getattr(data, split)
    answers = forward(network, data, index, batch_size, world, accumulate)
    # in the order of `index`; what filled the last batch up comes after its images
    logits = torch.cat([world.gather(part)[: batch.count].cpu() for batch, part in answers])
    label = data.labels[index]
    loss = (
        functional.cross_entropy(logits, torch.from_numpy(label), reduction="none")
        .double()
        .mean()
        .item()
    )
    if not torch.isfinite(logits).all():
        raise Diverged(f"the {split} loss is {loss} with the kept epoch's weights")
    return Predictions(index, label, functional.softmax(logits, dim=1).numpy(), loss)
