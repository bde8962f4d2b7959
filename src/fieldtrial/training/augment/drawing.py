"""The random numbers of a batch, drawn at once, and how what they decide reaches the device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw(counts: Sequence[int], images: int, seed: int) -> list[Tensor]:
    """Return a tensor (count, images) on the CPU for each of `counts`: uniform in [0, 1).

    They depend on the arguments alone, and the global generators stay. Numbers on the CPU are the
    same for all devices, and a change can count and sort them without waiting for a GPU.

    seed: from 0 to 2**64 - 1.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(sum(counts), images, generator=generator)
    return list(torch.split(numbers, list(counts)))


def send(values: Tensor, images: Tensor) -> Tensor:
    """Return `values`, a few numbers on the CPU, on the device of `images`; nothing waits."""
    return values.to(images.device, non_blocking=True)


def places(chosen: Tensor, images: Tensor) -> Tensor:
    """Return the numbers of the images that are `chosen`, bool (n,) on the CPU, on their device."""
    return send(chosen.nonzero().flatten(), images)
