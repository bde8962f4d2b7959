"""What tasks share whose answers are about whole images, and are not one class each."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.disk.inside import Inside
from fieldtrial.own.names import is_own
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.batches import Batch, augmented
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.losses import AUXILIARY_WEIGHT
from fieldtrial.training.models.hooks import AuxiliaryLogits
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.interface import Objective, Scores
from fieldtrial.training.tasks.own_loss import OwnObjective

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


class ImageScores(ABC):
    """A network's answers for images; see ScoredSplit."""

    @property
    @abstractmethod
    def is_finite(self) -> bool:
        """Whether every answer is a finite number."""

    @abstractmethod
    def scores(self) -> dict[str, float]:
        """Return the loss, and the task's metrics."""

    @abstractmethod
    def write(self, path: Inside) -> None:
        """Write the arrays, atomically, as the .npz file that results.read.answers reads."""

    def metrics(self, split: str) -> dict[str, float]:
        """Return {split}_NAME for each of the scores."""
        return {f"{split}_{name}": value for name, value in self.scores().items()}


class ImageTask(ABC):
    """What such tasks share; see Task."""

    seen: tuple[str, ...] = ()

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task's own loss of each image, (n,), from outputs (n, ...), targets (n, ...).

        A loss of a user's own takes its place in training.
        """

    def objective(
        self, network: Network, config: TrainConfig, data: Data, _world: World
    ) -> Objective:
        """See Task."""
        if is_own(config.loss):
            return OwnObjective(network, config, data)
        return ImageObjective(network, self.losses)

    @abstractmethod
    def answer(
        self, network: Network, data: Data, indices: Indices, attempt: Attempt
    ) -> ImageScores:
        """Return, to all processes, the answers of `network`, in evaluation mode, for images."""

    def evaluate(self, network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
        """See Task."""
        return self.answer(network, data, indices, attempt).scores()

    def score(self, network: Network, data: Data, split: Split, attempt: Attempt) -> ImageScores:
        """See Task."""
        found = self.answer(network, data, getattr(data, split), attempt)
        if not found.is_finite:
            what = f"an answer for a {split} image is not finite"
            raise Diverged(f"{what} with the kept epoch's weights")
        return found

    def augment(self, batch: Batch, config: TrainConfig, data: Data, step: int, rank: int) -> Batch:
        """See Task: an image keeps what is learned of it."""
        return augmented(batch, config, data, step, rank)

    def count_seen(self, outputs: Tensor, _targets: Tensor, _weights: Tensor) -> Tensor:
        """See Task: nothing is counted."""
        return outputs.new_zeros(0)
