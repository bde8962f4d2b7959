"""What a task is: its data, its loss, the scores of an epoch, and the answers for a split."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.schemas import Cut
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.batches import Batch
from fieldtrial.training.models.network import Network

Scores = Mapping[str, float]  # by a metric's name, such as loss, without its split


class Objective(Protocol):
    """The loss that training minimises.

    It may have hooks on the network that it was made for. All processes call all methods together.
    """

    def __call__(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None, /
    ) -> tuple[Tensor, Tensor]:
        """Return two scalars: one to call backward on, and the sum over this process's images.

        Args:
            outputs: what the network gave for a micro-batch of n images, (n, ...).
            targets: what it should have given, (n, ...); see `Batch`.
            weights: of the images, float (n,): 1, or 0 for padding; None where no image is padding.
        """

    def end_batch(self) -> None:
        """End the batch: called once after its last micro-batch."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold, the same in all processes."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue with the state that `state` returned."""


class ScoredSplit(Protocol):
    """A network's answers for all images of a split."""

    def metrics(self, split: str) -> dict[str, Any]:
        """Return {split}_loss, and {split}_NAME for each of the task's metrics: numbers."""

    def write(self, path: Inside) -> None:
        """Write the answers, atomically, as the file of predictions of a run directory."""


@runtime_checkable
class WithArrays(Protocol):
    """Answers that own metrics can be computed from.

    A task whose answers are others refuses such metrics where it loads its data.
    """

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the answers and what is right, as `MetricPart` has them."""


class Task(Protocol):
    """What differs between classification and other tasks. It has no state.

    `fields.task_metrics` has the metrics of each task, and says which may choose epochs.
    """

    @property
    def seen(self) -> tuple[str, ...]:
        """The metrics, beside the loss, that are also counted while training."""

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
    ) -> Data:
        """Return the trial's images, with the targets of each; see `data.load.load`.

        Raises:
            ConfigError: there is no such data set, or it is not one for this task.
        """

    def objective(
        self, network: Network, config: TrainConfig, data: Data, world: World
    ) -> Objective:
        """Return the loss that training minimises; `network` is on its device."""

    def augment(self, batch: Batch, config: TrainConfig, data: Data, step: int, rank: int) -> Batch:
        """Return `batch` changed at random as the config asks, targets too where that is needed.

        The seed, the step and the rank decide, so that a resumed trial repeats its changes.
        """

    def count_seen(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the sums over n images of the metrics `seen`, (len(seen),).

        The images are those of a micro-batch, or of several together; see Objective.
        """

    def evaluate(self, network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
        """Return, to all processes, the scores on the images `indices`, in evaluation mode.

        These are the loss, whatever is minimised, and all metrics that may choose an epoch.
        """

    def score(self, network: Network, data: Data, split: Split, attempt: Attempt) -> ScoredSplit:
        """Return, to all processes, the answers of `network`, in evaluation mode, for a split.

        Raises:
            Diverged: its answer for some image is not finite.
        """
