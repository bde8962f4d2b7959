"""Regression: an image has a number, and the network gives one."""

from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.training.data.labels.load import NumberData, load_numbers
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.interface import Scores
from fieldtrial.training.tasks.of_images import ImageObjective, ImageTask
from fieldtrial.training.tasks.regression.predictions import NumberScores, answer, score_split


class Regression(ImageTask):
    """See Task. Targets and outputs are standardised numbers, float (n, 1); see `NumberData`."""

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
    ) -> NumberData:
        """See Task."""
        return load_numbers(config, image_size, cut, recipe)

    def objective(
        self, network: Network, _config: TrainConfig, _data: Data, _world: World
    ) -> ImageObjective:
        """Return the squared error of the standardised numbers."""
        return ImageObjective(network, squared_error)

    def evaluate(self, network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
        """Return the loss, the absolute and the squared error in the number's unit, and R²."""
        return answer(network, data, indices, attempt).scores()

    def score(self, network: Network, data: Data, split: Split, attempt: Attempt) -> NumberScores:
        """See Task."""
        return score_split(network, data, split, attempt)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of each image, (n,)."""
    return (outputs - targets).square()[:, 0]
