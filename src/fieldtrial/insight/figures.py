"""Figures of what was found, and the grid that most of them are; matplotlib without a display."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

RIGHT, WRONG, NEUTRAL = "#00695c", "#b3261e", "#222222"  # signs tell them apart too
CELL_INCHES = 1.3
DOTS_PER_INCH = 110
MARKS = "os^Dv<>PpX*"  # eleven for ten colours: a repeated colour has another mark
MOST_NAMED = 40  # classes that a legend has room for


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in a grid.

    image: (h, w) or (h, w, 3). heat: (h, w) from 0 to 1, laid over the image.
    """

    image: NDArray[Any]
    title: str = ""
    colour: str = NEUTRAL
    heat: NDArray[Any] | None = None
    colour_map: str = "gray"


def grid(cells: Sequence[Picture | None], columns: int, title: str, note: str = "") -> Figure:
    """Return the cells row by row, under a title; None leaves a place empty."""
    rows = math.ceil(len(cells) / columns)
    lines = max((cell.title.count("\n") + 1 for cell in cells if cell and cell.title), default=0)
    height = rows * (CELL_INCHES + 0.16 * lines) + 0.7
    figure = Figure(
        figsize=(max(4.5, columns * CELL_INCHES + 0.3), height),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    if note:
        figure.supxlabel(note, fontsize=8, x=0.01, ha="left")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, cell in zip(
        axes.flat, [*cells, *[None] * (rows * columns - len(cells))], strict=True
    ):
        axis.set_axis_off()
        if cell is not None:
            axis.imshow(
                cell.image,
                cmap=cell.colour_map if cell.image.ndim == 2 else None,
                interpolation="nearest",
            )
            if cell.heat is not None:
                axis.imshow(cell.heat, cmap="inferno", alpha=0.55 * np.clip(cell.heat, 0, 1))
            axis.set_title(cell.title, fontsize=7, color=cell.colour, pad=2)
    return figure


def scatter(
    points: NDArray[Any], labels: NDArray[Any], class_names: Sequence[str], title: str, note: str
) -> Figure:
    """Return points (n, 2) by class; a legend names the classes, up to MOST_NAMED of them."""
    figure = Figure(figsize=(9, 6.5), dpi=DOTS_PER_INCH, layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    figure.supxlabel(note, fontsize=8, x=0.01, ha="left")
    axis = figure.subplots()
    axis.set(xticks=[], yticks=[])
    for number, name in enumerate(class_names):
        own, mark = points[labels == number], MARKS[number % len(MARKS)]
        axis.scatter(
            own[:, 0],
            own[:, 1],
            s=22,
            color=_colour(number),
            marker=mark,
            alpha=0.75,
            lw=0,
            label=name,
        )
    if len(class_names) <= MOST_NAMED:
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _colour(number: int) -> Any:
    """Return a colour for a class: ten differ clearly, then they repeat with other marks."""
    return colormaps["tab10"](number % 10)
