"""What tasks share whose answers are about whole images, and are not one class each."""

from collections.abc import Callable

from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.load import Data
from fieldtrial.training.loop.batches import Batch, augmented
from fieldtrial.training.loop.losses import AUXILIARY_WEIGHT
from fieldtrial.training.models.hooks import AuxiliaryLogits
from fieldtrial.training.models.network import Network

# From outputs (n, ...) and targets (n, ...) to the loss of each image, (n,).
Losses = Callable[[Tensor, Tensor], Tensor]


class ImageObjective:
    """The sum of the images' losses; see Objective. A checkpoint need hold nothing of it.

    An auxiliary classifier trains on the same targets.
    """

    def __init__(self, network: Network, losses: Losses) -> None:
        self._auxiliary, self._losses = AuxiliaryLogits(network), losses

    def __call__(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See Objective."""
        total = self._sum(outputs, targets, weights)
        if (auxiliary := self._auxiliary.take()) is not None:
            total = total + AUXILIARY_WEIGHT * self._sum(auxiliary, targets, weights)
        return total, total.detach()

    def _sum(self, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        losses = self._losses(outputs, targets)
        return (losses if weights is None else losses * weights).sum()

    def end_batch(self) -> None:
        """See Objective."""

    def state(self) -> dict[str, Tensor]:
        """See Objective: there is none."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See Objective."""


class ImageTask:
    """What such tasks share; see Task."""

    seen: tuple[str, ...] = ()

    def augment(self, batch: Batch, config: TrainConfig, data: Data, step: int, rank: int) -> Batch:
        """See Task: an image keeps what is learned of it."""
        return augmented(batch, config, data, step, rank)

    def count_seen(self, outputs: Tensor, _targets: Tensor, _weights: Tensor) -> Tensor:
        """See Task: nothing is counted."""
        return outputs.new_zeros(0)
