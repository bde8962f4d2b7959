"""Figures: a grid of pictures, and a scatter plot; matplotlib without a display."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

RIGHT, WRONG, NEUTRAL = "#00695c", "#b3261e", "#222222"  # signs tell them apart without colours
CELL_INCHES = 1.3
DOTS_PER_INCH = 110
MARKS = "os^Dv<>PpX*"  # eleven, so that classes of the same colour have different marks
MOST_NAMED = 40  # classes in a legend


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in a grid: `image` (h, w) or (h, w, 3), under `heat` (h, w) from 0 to 1."""

    image: NDArray[Any]
    title: str = ""
    colour: str = NEUTRAL
    heat: NDArray[Any] | None = None
    colour_map: str = "gray"


def grid(cells: Sequence[Picture | None], columns: int, title: str, note: str = "") -> Figure:
    """Return a figure of the cells, row by row, under a title; None leaves a place empty."""
    rows = math.ceil(len(cells) / columns)
    lines = max((cell.title.count("\n") + 1 for cell in cells if cell and cell.title), default=0)
    height = rows * (CELL_INCHES + 0.16 * lines) + 0.7
    figure = _figure(max(4.5, columns * CELL_INCHES + 0.3), height, title, note)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, cell in zip(
        axes.flat, [*cells, *[None] * (rows * columns - len(cells))], strict=True
    ):
        axis.set_axis_off()
        if cell is not None:
            colour_map = cell.colour_map if cell.image.ndim == 2 else None
            # photos keep their shades; maps and filters are stretched to their own range
            low, high = (0, 255) if cell.image.dtype == np.uint8 else (None, None)
            axis.imshow(cell.image, colour_map, vmin=low, vmax=high, interpolation="nearest")
            if cell.heat is not None:
                axis.imshow(cell.heat, cmap="inferno", alpha=0.55 * np.clip(cell.heat, 0, 1))
            axis.set_title(cell.title, fontsize=7, color=cell.colour, pad=2, parse_math=False)
    return figure


def scatter(
    points: NDArray[Any], labels: NDArray[Any], class_names: Sequence[str], title: str, note: str
) -> Figure:
    """Return a figure of points (n, 2), by class; a legend names up to MOST_NAMED classes."""
    figure = _figure(9, 6.5, title, note)
    axis = figure.subplots()
    axis.set(xticks=[], yticks=[])
    for number, name in enumerate(class_names):
        own, mark = points[labels == number], MARKS[number % len(MARKS)]
        colour = colormaps["tab10"](number % 10)  # ten differ clearly
        style: dict[str, Any] = {"color": colour, "marker": mark, "alpha": 0.75}
        axis.scatter(own[:, 0], own[:, 1], s=22, lw=0, label=name, **style)
    if len(class_names) <= MOST_NAMED:
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _figure(width: float, height: float, title: str, note: str) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    heading: dict[str, Any] = {"x": 0.01, "ha": "left", "parse_math": False}
    figure.suptitle(title, fontsize=11, fontweight="bold", **heading)
    if note:
        figure.supxlabel(note, fontsize=8, **heading)
    return figure
