"""Inference over many images: a network's outputs, batch by batch."""

import math
from collections.abc import Iterable, Iterator

import torch

from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import Batch, batches
from fieldtrial.training.models.network import Network

MAX_IMAGES = 256  # per process and batch; fewer where images are large:
MAX_PIXELS = 2**20


# Not inference_mode: ZeRO gathers parameters here that are trained afterwards.
@torch.no_grad()
def infer(
    network: Network, data: Data, indices: Indices, attempt: Attempt
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Yield this process's batches of the images `indices`, in order, each with its outputs.

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


def outputs_of(network: Network, data: Data, indices: Indices, attempt: Attempt) -> torch.Tensor:
    """Return, to all processes, the outputs for the images `indices`, in order, on the CPU."""
    return gathered(infer(network, data, indices, attempt), attempt)


def gathered(answers: Iterable[tuple[Batch, torch.Tensor]], attempt: Attempt) -> torch.Tensor:
    """Return, to all processes, what all have answered batch by batch, on the CPU."""
    gather = attempt.world.all_gather
    # Gathered rows are in the order of the images, with a batch's padding at its end.
    return torch.cat([gather(part)[: batch.count].cpu() for batch, part in answers])
