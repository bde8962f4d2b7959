"""Own losses, as what a task's training minimises."""

import inspect
from typing import Any, Protocol

from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.training.models.hooks import AuxiliaryLogits, HeadInput
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.part import Part, own_part
from fieldtrial.training.parts.saying import of_kind

FEATURES = "features"  # a parameter: what the last layer gets


class LossPart(Protocol):
    """What training minimises in the place of the task's own loss: a function.

    It may have a parameter `features`: then it is given by this name what the last layer got,
    float32 (n, width), with its gradient.
    """

    def __call__(self, outputs: Tensor, targets: Tensor, /, *_: Any, **options: Any) -> Tensor:
        """Return the loss of each image, (n,), or the mean over the images, with a gradient.

        The images are those of a micro-batch in one process. A step minimises the mean over the
        whole batch.

        Args:
            outputs: what the network gave, float32: logits (n, classes) or (n, labels), or
                standardised numbers (n, 1).
            targets: what is right: classes, int64 (n,); labels, float32 (n, labels), 0 or 1; or
                standardised numbers, float32 (n, 1).
        """


class OwnObjective:
    """See Objective. There is nothing to remember in a checkpoint.

    An auxiliary classifier is trained with the same loss, as with cross-entropy.
    """

    def __init__(self, network: Network, config: TrainConfig, auxiliary_weight: float) -> None:
        self._part = own_part("loss", config.loss, config.options_of("loss"))
        self._auxiliary, self._weight = AuxiliaryLogits(network), auxiliary_weight
        self._features = HeadInput(network) if _reads_features(self._part) else None

    def __call__(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See Objective. Images of weight 0 are not shown to the loss."""
        named = {FEATURES: self._features.take()} if self._features else {}
        auxiliary = self._auxiliary.take()
        there = None if weights is None else weights > 0
        if there is not None and not there.any():
            # for the gradient that other processes wait for
            nothing = outputs.sum() * 0
            return nothing, nothing.detach()
        total = self._summed(outputs, targets, there, named)
        if auxiliary is not None:
            total = total + self._weight * self._summed(auxiliary, targets, there, named)
        return total, total.detach()

    def _summed(
        self, outputs: Tensor, targets: Tensor, there: Tensor | None, named: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss summed over the images that are `there`; None: all.

        Raises:
            ConfigError: the part gave something else than losses, or a loss without a gradient.
        """
        if there is not None:
            outputs, targets = outputs[there], targets[there]
            named = {name: value[there] for name, value in named.items()}
        losses = self._part(outputs, targets, **named)
        count = len(targets)
        if not isinstance(losses, Tensor) or losses.shape not in ((), (count,)):
            raise self._part.refused(
                f"gave {of_kind(losses)} for {count} images; a tensor of shape ({count},) or a"
                " scalar, their mean, was expected"
            )
        if not losses.requires_grad:
            raise self._part.refused(
                "has no gradient: it must be computed from the outputs by operations of torch that"
                " have one"
            )
        return losses.sum() if losses.ndim else losses * count

    def end_batch(self) -> None:
        """See Objective."""

    def state(self) -> dict[str, Tensor]:
        """See Objective."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See Objective."""


def _reads_features(part: Part) -> bool:
    """Return whether a loss is to be given the features."""
    return FEATURES in inspect.signature(part.call).parameters
