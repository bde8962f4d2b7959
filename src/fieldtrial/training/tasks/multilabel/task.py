"""Multi-label classification: an image has any number of labels, with a logit for each."""

from torch import Tensor
from torch.nn import functional

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.training.data.labels.load import LabelData, load_labels
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.inference import outputs_of
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.multilabel.predictions import LabelScores
from fieldtrial.training.tasks.of_images import ImageTask


class MultiLabel(ImageTask):
    """See Task. Targets are float (n, labels), 1 or 0; outputs are logits, float (n, labels)."""

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
    ) -> LabelData:
        """See Task."""
        return load_labels(config, image_size, cut, recipe)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See ImageTask."""
        return cross_entropy(outputs, targets)

    def answer(
        self, network: Network, data: Data, indices: Indices, attempt: Attempt
    ) -> LabelScores:
        """See ImageTask."""
        whole, positions = data.whole, data.positions(indices)
        assert isinstance(whole, LabelData)
        logits = outputs_of(network, data, indices, attempt).numpy()
        return LabelScores(positions, whole.values[positions], logits)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy of each image, summed over the labels, (n,)."""
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return losses.sum(1)
