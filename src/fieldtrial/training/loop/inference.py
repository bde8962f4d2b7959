"""Inference over many images: logits batch by batch, and the mean loss and accuracy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import Batch, batches
from fieldtrial.training.models.network import Network

MAX_IMAGES = 256  # per process and batch; fewer where images are large:
MAX_PIXELS = 2**20


@dataclass(frozen=True)
class Scores:
    """Mean loss and share of correct answers over all images, of all processes together."""

    loss: float
    accuracy: float


def evaluate(network: Network, data: Data, indices: Indices, attempt: Attempt) -> Scores:
    """Return the scores on the images `indices`: plain cross-entropy, in evaluation mode."""
    world = attempt.world
    totals = torch.zeros(2, dtype=torch.float64, device=world.device)
    for batch, logits in infer(network, data, indices, attempt):
        losses = functional.cross_entropy(logits, batch.labels, reduction="none")
        totals += loss_and_correct((losses * batch.weights).sum(), logits, batch)
    loss, correct = (world.sum(totals) / len(indices)).tolist()
    return Scores(loss, correct)


# Not inference_mode: ZeRO gathers parameters here that are trained afterwards.
@torch.no_grad()
def infer(
    network: Network, data: Data, indices: Indices, attempt: Attempt
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Yield this process's batches of the images `indices`, in order, each with its logits.

    The network is in evaluation mode. Batches have the trial's size, which fits into memory, or
    more if images are small. Gradient accumulation makes them smaller by the same factor.
    """
    network.eval()
    size = attempt.world.size
    most = max(
        math.ceil(attempt.config.batch_size / size),
        min(MAX_IMAGES, MAX_PIXELS // data.image_size**2),
    )
    per_process = math.ceil(most / attempt.accumulation)
    for batch in batches(data, indices, per_process * size, attempt.world):
        yield batch, network(batch.images)


def loss_and_correct(loss: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the summed loss and the number of correct answers, float64 (2,), on the device."""
    correct = (logits.argmax(1) == batch.labels) * batch.weights
    return torch.stack([loss, correct.sum()]).double()
