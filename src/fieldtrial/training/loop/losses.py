"""What training minimises: cross-entropy, plus a loss of the last layer's input, its features."""

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.models.hooks import AuxiliaryLogits, HeadInput
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.part import part_of

# Default weights beside cross-entropy. Center's is that of Wen et al. Hermans et al. use triplets
# alone; beside cross-entropy, a weight of 1 was seen to collapse the features of the digits into a
# point.
WEIGHTS: dict[str, float] = {"center": 0.003, "triplet": 0.1}
# Of an auxiliary classifier's cross-entropy, in training: torchvision's for Inception v3.
AUXILIARY_WEIGHT = 0.4


class FeatureLoss(Protocol):
    """A loss of a micro-batch's features (n, width), labels (n,) and weights (n,), 1 or 0."""

    def __call__(self, features: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return two scalars: one to call backward on, and the sum over this process's images.

        The gradient, for this process's features, is that of the sum over the images of all
        processes.
        """

    def end_batch(self) -> None:
        """End the batch: called once after its last micro-batch."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold, the same in all processes."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue with the state that `state` returned."""


class Center:
    """Center loss: half the squared distance of an image's features from its class's center.

    Y. Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV
    2016. After each batch a center moves by center_lr × sum of (features − center) / (1 + n) over
    the n images of its class, on all processes together. Centers start at 0. Unlike in the paper,
    the loss is the mean over a batch, as cross-entropy is, not the sum.
    """

    def __init__(self, classes: int, world: World, *, center_lr: float) -> None:
        self._rate = center_lr
        self._classes = classes
        self._world = world
        self._centers: Tensor | None = None  # (classes, width): the first batch tells the width
        # Per micro-batch, (classes, width + 1): sums of distances, numbers of images.
        self._moves: list[Tensor] = []

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
        moves = self._world.all_reduce(torch.stack(self._moves).sum(0))
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
    """Triplet loss: the farthest image of the own class must be nearer, by margin, than all others.

    A. Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017:
    batch-hard, Euclidean distances, a hinge. Triplets are formed within a micro-batch, over all
    processes together. Batches are drawn at random, not by class: an image without another of its
    class, or without one of another class, counts 0.
    """

    def __init__(self, _classes: int, world: World, *, margin: float) -> None:
        self._margin = margin
        self._world = world

    def __call__(self, features: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """See FeatureLoss. Each process forms all triplets: others' pull at its images as well."""
        # Labels stay exact up to 2**24.
        facts = torch.stack([labels, weights], 1).to(features.dtype)
        rows = self._world.all_gather(torch.cat([features.detach(), facts], 1))
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


# Called with the number of classes and the world; options are the fields that a loss reads.
FEATURE_LOSSES: dict[str, Callable[..., FeatureLoss]] = {
    "center": Center,
    "triplet": Triplet,
}


def batch_hard(features: Tensor, labels: Tensor, weights: Tensor, margin: float) -> Tensor:
    """Return the triplet losses (n,), of each image with its hardest others; 0 for weight 0."""
    # By matrix products, small distances would be lost in rounding.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    same, there = labels[:, None] == labels, weights > 0
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    farthest = distances.masked_fill(~(same & others & there), -torch.inf).amax(1)
    nearest = distances.masked_fill(~(~same & there), torch.inf).amin(1)
    return functional.relu(farthest - nearest + margin) * weights


def balanced_weights(counts: Indices) -> Tensor:
    """Return the weights (classes,) that let classes of unequal size count alike in a loss.

    They are images / (classes × images of the class), as those of scikit-learn's `balanced`. Their
    mean over the images is 1. After G. King, L. Zeng, "Logistic Regression in Rare Events Data",
    Political Analysis 9, 2001.

    counts: how many images each class has, int64 (classes,), none of them 0.
    """
    weights: NDArray[np.float32] = (counts.sum() / (len(counts) * counts)).astype(np.float32)
    return torch.from_numpy(weights)


class ClassObjective:
    """The loss that training minimises; hooks on `network` read what it needs beside the logits.

    class_weights: by which classes count in cross-entropy, float (classes,); None: all by 1. They
    and label smoothing go together as in torch's `cross_entropy`. The loss is divided by the number
    of images, and not, as torch's mean is, by the sum of their weights, so that each image counts
    alike in every batch.
    """

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        classes: int,
        world: World,
        class_weights: Tensor | None = None,
    ) -> None:
        self._auxiliary = AuxiliaryLogits(network)
        self._label_smoothing = config.label_smoothing
        self._class_weights = None if class_weights is None else class_weights.to(world.device)
        self._beside: FeatureLoss | None = None
        if config.loss in FEATURE_LOSSES:
            self._features = HeadInput(network)
            self._beside = part_of("loss", config.loss, config, FEATURE_LOSSES)(classes, world)
            self._weight = (
                WEIGHTS[config.loss] if config.loss_weight is None else config.loss_weight
            )

    def __call__(
        self, logits: Tensor, labels: Tensor, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the summed loss of the images just passed through the network, as FeatureLoss.

        labels: int64 (n,) or, of mixed images, the shares of the classes, float (n, classes).
        weights: None where all are 1, which saves four of the step's operations.
        """
        total = self._cross_entropy(logits, labels, weights)
        if (auxiliary := self._auxiliary.take()) is not None:
            total = total + AUXILIARY_WEIGHT * self._cross_entropy(auxiliary, labels, weights)
        if self._beside is None:
            return total, total.detach()
        every = torch.ones(len(labels), device=labels.device) if weights is None else weights
        more, value = self._beside(self._features.take(), labels, every)
        return total + self._weight * more, total.detach() + self._weight * value

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return self._each(logits, labels, reduction="sum")
        return (self._each(logits, labels, reduction="none") * weights).sum()

    def _each(self, logits: Tensor, labels: Tensor, reduction: Literal["sum", "none"]) -> Tensor:
        return functional.cross_entropy(
            logits,
            labels,
            self._class_weights,
            label_smoothing=self._label_smoothing,
            reduction=reduction,
        )

    def end_batch(self) -> None:
        """End the batch: called once after its last micro-batch."""
        if self._beside:
            self._beside.end_batch()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold, the same in all processes."""
        return self._beside.state() if self._beside else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue with the state that `state` returned."""
        if self._beside:
            self._beside.load_state(state)
