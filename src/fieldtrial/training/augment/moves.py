"""Changes that move whole pixels: flips and shifts, of images of any type.

Which pixel is seen where is worked out first, for all moves that follow each other. So a pixel is
copied once, and images as they are stored, with 8 bits, need not become floats before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldtrial.training.augment.drawing import send
from fieldtrial.training.data.crops import PADDING, mirrored


@dataclass(frozen=True)
class Places:
    """Which row and column of an image are seen at each row and column of the result.

    Attributes:
        rows: int64 (n, height), on the CPU.
        columns: int64 (n, width), on the CPU.
    """

    rows: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Move:
    """A random move.

    Attributes:
        numbers: how many random numbers it takes for each image.
        place: from places and random numbers (numbers, n), uniform in [0, 1) and on the CPU, to the
            places after it.
    """

    numbers: int
    place: Callable[[Places, Tensor], Places]


def moved(images: Tensor, moves: Sequence[tuple[Move, Tensor]]) -> Tensor:
    """Return the images after moves with their random numbers, in order; shape and type stay.

    images: uint8 (n, height, width, channels), or float (n, channels, height, width), whose result
        has the channels last in memory.
    """
    if images.dtype != torch.uint8:
        return _moved(images.permute(0, 2, 3, 1).contiguous(), moves).permute(0, 3, 1, 2)
    return _moved(images, moves)


def _moved(images: Tensor, moves: Sequence[tuple[Move, Tensor]]) -> Tensor:
    n, height, width, _ = images.shape
    rows, columns = (torch.arange(side).expand(n, -1) for side in (height, width))
    places = Places(rows, columns)
    for move, numbers in moves:
        places = move.place(places, numbers)
    if images.device.type != "cpu":
        where = (torch.arange(n).view(n, 1, 1), places.rows[:, :, None], places.columns[:, None])
        return images[tuple(send(one, images) for one in where)]
    found = images.clone()
    before, after = images.numpy(), found.numpy()
    across, down = places.columns.numpy(), places.rows.numpy()
    moves_rows = (places.rows != rows).any(1)
    differ = moves_rows | (places.columns != columns).any(1)
    is_flip = ~moves_rows & (places.columns == columns.flip(1)).all(1)
    flips = is_flip.tolist()
    # Image by image: rows are copied whole, which takes a third of the time of single pixels, and
    # torch flips in a quarter of that.
    for number in differ.nonzero().flatten().tolist():
        if flips[number]:
            found[number] = images[number].flip(1)
        else:
            after[number] = before[number].take(down[number], 0).take(across[number], 1)
    return found


def _reversed(places: Tensor, chosen: Tensor) -> Tensor:
    """Return the places (n, side) in reverse order in the images that are `chosen`, bool (n,)."""
    return torch.where(chosen[:, None], places.flip(1), places)


def _shifted(places: Tensor, numbers: Tensor) -> Tensor:
    """Return the places (n, side) moved by up to the side over PADDING, by random numbers (n,).

    What is beyond the border is seen as in a mirror there.
    """
    side = places.shape[1]
    padding = min(max(1, side // PADDING), side - 1)  # a mirror has side - 1 pixels to give
    steps = 2 * padding + 1
    starts = (numbers * steps).long().clamp(max=steps - 1) - padding
    return places.gather(1, mirrored(starts[:, None] + torch.arange(side), side))


MOVES: dict[str, Move] = {
    # every second image, on average
    "horizontal_flip": Move(1, lambda at, x: Places(at.rows, _reversed(at.columns, x[0] < 0.5))),
    "vertical_flip": Move(1, lambda at, x: Places(_reversed(at.rows, x[0] < 0.5), at.columns)),
    # a shift by up to an eighth of the side, filled by reflection (He et al. 2015: 4 of 32 pixels)
    "crop": Move(2, lambda at, x: Places(_shifted(at.rows, x[0]), _shifted(at.columns, x[1]))),
}
