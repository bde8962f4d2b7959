"""What training minimises: cross-entropy, and a loss of the features that the last layer gets
beside it.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fieldtrial.config import ConfigError, Loss, TrainConfig
from fieldtrial.training.distributed.world import World
from fieldtrial.training.models.hooks import AuxiliaryLogits, HeadInput
from fieldtrial.training.models.network import Network

# Where the config does not say. Wen et al.'s; Hermans et al. have no cross-entropy beside triplets,
# and with a weight of 1 the features of the digits were seen to collapse into a point before they
# were of use.
WEIGHTS: dict[Loss, float] = {"center": 0.003, "triplet": 0.1}


AUXILIARY_WEIGHT = (
    0.4  # of an auxiliary classifier's cross-entropy, in training; torchvision's for Inception v3
)


class FeatureLoss(Protocol):
    """A loss of the features (n, width) of a piece of a batch, of its labels and of the images'
    weights, 1 or 0.
    """

    def __call__(self, features: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses over this process's images twice: as what has the gradient,
        and as a number.

        The gradient, for this process's features, is that of the sum over the images of all
        processes.
        """

    def end_batch(self) -> None:
        """Note that the pieces since the last call were a batch."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold, the same in all processes."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue with the state that `state` returned."""


class Center:
    """Half the squared distance of an image's features from its class's center, which follows its
    images.

    Y. Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV
    2016. After each batch a center moves by center_lr × sum of (features − center) / (1 + n) over
    the n images of its class, on all processes together. Centers start at 0. Unlike there, the loss
    is the mean over a batch, as cross-entropy is, not the sum.
    """

    def __init__(self, config: TrainConfig, classes: int, world: World) -> None:
        self._rate = config.center_lr
        self._classes = classes
        self._world = world
        self._centers: Tensor | None = None  # (classes, width): the first batch tells the width
        self._moves: list[
            Tensor
        ] = []  # of each piece (classes, width + 1): sums of distances, numbers of images

    def __call__(self, features: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """See FeatureLoss."""
        if self._centers is None:
            self._centers = features.new_zeros(self._classes, features.shape[1])
        distances = (features - self._centers[labels]) * weights[:, None]
        moves = distances.new_zeros(self._classes, features.shape[1] + 1)
        self._moves.append(
            moves.index_add_(0, labels, torch.cat([distances.detach(), weights[:, None]], 1))
        )
        total = distances.square().sum() / 2
        return total, total.detach()

    def end_batch(self) -> None:
        """Move the centers."""
        assert self._centers is not None
        moves = self._world.add(torch.stack(self._moves).sum(0))
        self._centers += self._rate * moves[:, :-1] / (1 + moves[:, -1:])
        self._moves = []

    def state(self) -> dict[str, Tensor]:
        """See FeatureLoss."""
        return {} if self._centers is None else {"centers": self._centers}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See FeatureLoss."""
        if state:
            self._centers = state["centers"].to(self._world.device, copy=True)


class Triplet:
    """By how much an image's own class must come nearer: its farthest image than the nearest of the
    others, by margin.

    A. Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017:
    batch-hard, Euclidean distances, a hinge. The triplets are those of a piece of a batch (a whole
    batch, unless it does not fit into memory) on all processes together. Batches are drawn at
    random, not by class: an image without another of its class, or without one of another class,
    counts 0.
    """

    def __init__(self, config: TrainConfig, _classes: int, world: World) -> None:
        self._margin = config.margin
        self._world = world

    def __call__(self, features: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """See FeatureLoss. Each process has all triplets: those of others pull at its images as
        well.
        """
        facts = torch.stack([labels, weights], 1).to(
            features.dtype
        )  # labels stay exact up to 2**24
        rows = self._world.gather(torch.cat([features.detach(), facts], 1))
        everyones = rows[:, :-2].clone()
        everyones[self._world.rank :: self._world.size] = features
        losses = batch_hard(everyones, rows[:, -2], rows[:, -1], self._margin)
        return losses.sum(), losses[self._world.rank :: self._world.size].sum().detach()

    def end_batch(self) -> None:
        """See FeatureLoss."""

    def state(self) -> dict[str, Tensor]:
        """See FeatureLoss: there is none."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See FeatureLoss."""


FEATURE_LOSSES: dict[Loss, Callable[[TrainConfig, int, World], FeatureLoss]] = {
    "center": Center,
    "triplet": Triplet,
}


def batch_hard(features: Tensor, labels: Tensor, weights: Tensor, margin: float) -> Tensor:
    """Return the triplet loss (n,) of each image of weight 1 with its hardest two others of weight
    1, else 0.
    """
    distances = torch.cdist(
        features, features, compute_mode="donot_use_mm_for_euclid_dist"
    )  # which rounds too much
    same, there = labels[:, None] == labels, weights > 0
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distances.masked_fill(~(same & others & there), -torch.inf).amax(1)
    nearest = distances.masked_fill(~(~same & there), torch.inf).amin(1)
    return functional.relu(farthest - nearest + margin) * weights


def require_triplets(config: TrainConfig, together: int) -> None:
    """Raise ConfigError where fewer images than a triplet has are `together` in a piece
    of a batch.
    """
    if config.loss == "triplet" and together < 3:
        cut = f", cut into pieces of {together}" if together < config.batch_size else ""
        problem = (
            f"batch_size = {config.batch_size}{cut}: loss triplet needs at least 3 images at a time"
        )
        raise ConfigError([problem])


class Objective:
    """The loss that training minimises, for `network`, whose head's input it reads by a hook."""

    def __init__(self, network: Network, config: TrainConfig, classes: int, world: World) -> None:
        self._auxiliary = AuxiliaryLogits(network)
        self._label_smoothing = config.label_smoothing
        self._beside: FeatureLoss | None = None
        if config.loss in FEATURE_LOSSES:
            self._features = HeadInput(network)
            self._beside = FEATURE_LOSSES[config.loss](config, classes, world)
            self._weight = (
                WEIGHTS[config.loss] if config.loss_weight is None else config.loss_weight
            )

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses of the images that the network has just seen, as FeatureLoss
        does.
        """
        losses = functional.cross_entropy(
            logits, labels, label_smoothing=self._label_smoothing, reduction="none"
        )
        if (auxiliary := self._auxiliary.take()) is not None:
            losses = losses + AUXILIARY_WEIGHT * functional.cross_entropy(
                auxiliary, labels, label_smoothing=self._label_smoothing, reduction="none"
            )
        total = (losses * weights).sum()
        if self._beside is None:
            return total, total.detach()
        more, number = self._beside(self._features.take(), labels, weights)
        return total + self._weight * more, total.detach() + self._weight * number

    def end_batch(self) -> None:
        """Note that what has been seen since the last call was a batch."""
        if self._beside:
            self._beside.end_batch()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold, the same in all processes."""
        return self._beside.state() if self._beside else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue with the state that `state` returned."""
        if self._beside:
            self._beside.load_state(state)
