"""Regression: an image has a number, and the network gives one."""

from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.training.data.labels.load import NumberData, load_numbers
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.inference import outputs_of
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.of_images import ImageTask
from fieldtrial.training.tasks.regression.predictions import NumberScores


class Regression(ImageTask):
    """See Task. Targets and outputs are standardised numbers, float (n, 1); see `NumberData`."""

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
    ) -> NumberData:
        """See Task."""
        return load_numbers(config, image_size, cut, recipe)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See ImageTask."""
        return squared_error(outputs, targets)

    def answer(
        self, network: Network, data: Data, indices: Indices, attempt: Attempt
    ) -> NumberScores:
        """See ImageTask."""
        whole, positions = data.whole, data.positions(indices)
        assert isinstance(whole, NumberData)
        outputs = outputs_of(network, data, indices, attempt).numpy()
        target, value = whole.numbers[positions], whole.in_units(outputs)
        return NumberScores(positions, target, value, whole.deviation)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of each image, (n,)."""
    return (outputs - targets).square()[:, 0]
