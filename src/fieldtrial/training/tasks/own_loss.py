"""Own losses, as what a task's training minimises."""

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor

from fieldtrial.config import TrainConfig
from fieldtrial.fields.printable import counted
from fieldtrial.training.data.load import Data
from fieldtrial.training.loop.losses import AUXILIARY_WEIGHT
from fieldtrial.training.models.hooks import AuxiliaryLogits, HeadInput
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.part import Part, own_part
from fieldtrial.training.parts.saying import of_kind

FEATURES = "features"  # a parameter: what the last layer gets
TRIED = 8  # images that a loss is tried with


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

    Raises:
        ConfigError, OwnCodeError: see `try_loss`.
    """

    def __init__(self, network: Network, config: TrainConfig, data: Data) -> None:
        try_loss(network, config, data)
        self._part = _part(config)
        self._auxiliary = AuxiliaryLogits(network)
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
            total = total + AUXILIARY_WEIGHT * self._summed(auxiliary, targets, there, named)
        return total, total.detach()

    def _summed(
        self, outputs: Tensor, targets: Tensor, there: Tensor | None, named: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss summed over the images that are `there`; None: all."""
        if there is not None:
            outputs, targets = outputs[there], targets[there]
            named = {name: value[there] for name, value in named.items()}
        return _summed(self._part, outputs, targets, named)

    def end_batch(self) -> None:
        """See Objective."""

    def state(self) -> dict[str, Tensor]:
        """See Objective."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See Objective."""


def try_loss(network: Network, config: TrainConfig, data: Data) -> None:
    """Raise as a step of training would, before a trial, for a few made-up outputs and targets.

    They are where the network is. A loss that reads the features is not tried where the last layer
    does not say how many numbers it takes.

    Raises:
        ConfigError: the own loss gave something else than losses, or a loss without a gradient.
        OwnCodeError: it has raised something.
    """
    part, device = _part(config), network.mean.device
    made = torch.Generator().manual_seed(0)

    def drawn(width: int) -> Tensor:
        numbers = torch.randn(TRIED, width, generator=made, device="cpu").to(device)
        return numbers.requires_grad_().clone()  # a network's outputs are no leaves either

    width = 1 if config.task == "regression" else len(data.class_names)
    numbers = torch.arange(TRIED * width, device=device).view(TRIED, width)
    targets = {
        "classification": numbers[:, 0] // width % width,
        "multilabel": (numbers % 2).float(),
        "regression": numbers.float() / TRIED,
    }
    named = dict[str, Tensor]()
    if _reads_features(part):
        head = network.get_submodule(network.head)
        taken = getattr(head, "in_features", None) or getattr(head, "in_channels", None)
        if not isinstance(taken, int):
            return
        named[FEATURES] = drawn(taken)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():  # training goes on as without it
        _summed(part, drawn(width), targets[config.task], named)


def _part(config: TrainConfig) -> Part:
    return own_part("loss", config.loss, config.options_of("loss"))


def _summed(part: Part, outputs: Tensor, targets: Tensor, named: dict[str, Tensor]) -> Tensor:
    """Return the loss summed over the images.

    Raises:
        ConfigError: the part gave something else than losses, or a loss without a gradient.
    """
    losses, count = part(outputs, targets, **named), len(targets)
    if not isinstance(losses, Tensor) or losses.shape not in ((), (count,)):
        raise part.refused(
            f"gave {of_kind(losses)} for {counted(count, 'image')}; a tensor of shape ({count},) or"
            " a scalar, their mean, was expected"
        )
    if not losses.requires_grad:
        raise part.refused(
            "has no gradient: it must be computed from the outputs by operations of torch that"
            " have one"
        )
    return losses.sum() if losses.ndim else losses * count


def _reads_features(part: Part) -> bool:
    """Return whether a loss is to be given the features."""
    return FEATURES in inspect.signature(part.call).parameters
