"""Classification: each image has one class, and the network gives a logit for each."""

from dataclasses import replace

import torch
from torch.nn import functional

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.fields.rules import is_mixed
from fieldtrial.own.names import is_own
from fieldtrial.training.augment.mixing import mixed
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt, Split
from fieldtrial.training.loop.batches import MIXING, Batch, augmented, random_number
from fieldtrial.training.loop.losses import ClassObjective, balanced_weights
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.classification.predictions import (
    ClassScores,
    answers,
    score_split,
)
from fieldtrial.training.tasks.interface import Objective, Scores
from fieldtrial.training.tasks.own_loss import OwnObjective


class Classification:
    """See Task. Outputs are logits, float (n, classes).

    Targets are labels, int64 (n,) or, of mixed images, shares of the classes, float (n, classes).
    """

    seen = ("accuracy",)

    def load(
        self, config: TrainConfig, image_size: int | None, cut: Cut, recipe: AnyRecipe | None
    ) -> Data:
        """See Task."""
        return load(config, image_size, cut, recipe)

    def objective(
        self, network: Network, config: TrainConfig, data: Data, world: World
    ) -> Objective:
        """Return cross-entropy, plus the config's loss of the features; or an own loss.

        Balanced weights of the classes are those of the training images.
        """
        if is_own(config.loss):
            return OwnObjective(network, config, data)
        is_balanced = config.class_weights == "balanced"
        weights = balanced_weights(data.count(data.train)) if is_balanced else None
        return ClassObjective(network, config, len(data.class_names), world, weights)

    def augment(self, batch: Batch, config: TrainConfig, data: Data, step: int, rank: int) -> Batch:
        """See Task: an image keeps its class, or is mixed with one of the same process's share.

        All processes draw the same shares and boxes for a batch.
        """
        batch = augmented(batch, config, data, step, rank)
        if not is_mixed(config):
            return batch
        seed = random_number(MIXING, config.seed, step)
        known = (len(data.class_names), config.mixup, config.cutmix, seed)
        images, shares = mixed(batch.images, batch.targets, *known)
        return replace(batch, images=images, targets=shares)

    def count_seen(
        self, outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the number of correct answers, (1,): of mixed images, with the larger share."""
        labels = targets.argmax(1) if targets.ndim == 2 else targets
        return ((outputs.argmax(1) == labels) * weights).sum()[None]

    def evaluate(self, network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
        """Return plain cross-entropy, whatever the loss, and the share of correct answers."""
        world = attempt.world
        totals = torch.zeros(2, dtype=torch.float64, device=world.device)
        for batch, logits in answers(network, data, indices, attempt):
            losses = functional.cross_entropy(logits, batch.targets, reduction="none")
            loss = (losses * batch.weights).sum()[None]
            correct = self.count_seen(logits, batch.targets, batch.weights)
            totals += torch.cat([loss, correct]).double()
        loss_and_accuracy = (world.sum(totals) / len(indices)).tolist()
        return dict(zip(("loss", "accuracy"), loss_and_accuracy, strict=True))

    def score(self, network: Network, data: Data, split: Split, attempt: Attempt) -> ClassScores:
        """See Task."""
        return score_split(network, data, split, attempt)
