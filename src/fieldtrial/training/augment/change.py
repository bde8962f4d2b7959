"""What a random change of images is."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Change:
    """A random change.

    Attributes:
        numbers: how many random numbers it takes for each image.
        apply: from images (n, channels, height, width) and random numbers (numbers, n), uniform
            in [0, 1) and on the CPU, to the changed images. It never waits for a GPU: it computes
            with the numbers on the CPU, and sends what the device needs.
    """

    numbers: int
    apply: Callable[[Tensor, Tensor], Tensor]
