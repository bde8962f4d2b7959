"""Changes that move whole pixels, made on images as they are stored: 8 bits, channels last.

Which pixel is seen where is worked out first, for all changes of a list together. So each pixel is
copied once, and only of the images that change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Which rows and columns of n images are seen at each row and column.

    Attributes:
        rows: int64 (n, height), on the CPU.
        columns: int64 (n, width), on the CPU.
    """

    rows: Tensor
    columns: Tensor


Move = Callable[[Places, Tensor], Places]  # with random numbers (numbers, n), uniform in [0, 1)


def moved(images: Tensor, moves: Sequence[Move], numbers: Sequence[Tensor]) -> Tensor:
    """Return images uint8 (n, height, width, channels) after `moves`, in order.

    numbers: those of each move.
    """
    n, height, width, _ = images.shape
    places = unmoved = Places(torch.arange(height).expand(n, -1), torch.arange(width).expand(n, -1))
    for move, own in zip(moves, numbers, strict=True):
        places = move(places, own)
    if images.device.type != "cpu":
        images_of = torch.arange(n).view(n, 1, 1)
        where = (images_of, places.rows[:, :, None], places.columns[:, None, :])
        return images[tuple(one.to(images.device, non_blocking=True) for one in where)]
    differ = (places.rows != unmoved.rows).any(1) | (places.columns != unmoved.columns).any(1)
    found = images.clone()
    pixels, out = images.numpy(), found.numpy()
    rows, columns = places.rows.numpy(), places.columns.numpy()
    for number in differ.nonzero().flatten().tolist():  # quicker than a pixel at a time for all
        out[number] = pixels[number].take(rows[number], 0).take(columns[number], 1)
    return found


def mirrored(starts: Tensor, side: int) -> Tensor:
    """Return which pixels are seen from each of `starts` on, int64 (n, side), of `side` pixels.

    Beyond the border they are seen as in a mirror there, at most once.
    """
    seen = (starts[:, None] + torch.arange(side)).abs()
    return seen.minimum(2 * (side - 1) - seen)


def flip_columns(places: Places, numbers: Tensor) -> Places:
    """Mirror every second image, on average, left to right."""
    chosen = numbers[0, :, None] < 0.5
    return Places(places.rows, torch.where(chosen, places.columns.flip(1), places.columns))


def flip_rows(places: Places, numbers: Tensor) -> Places:
    """Mirror every second image, on average, top to bottom."""
    chosen = numbers[0, :, None] < 0.5
    return Places(torch.where(chosen, places.rows.flip(1), places.rows), places.columns)
