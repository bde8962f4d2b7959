"""Pictures of a data set: its splits' images per class, and samples with their labels."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fieldtrial.insight.figures import Picture, grid
from fieldtrial.training.data.load import Data

SAMPLES = 40  # at most, and classes at most, in the grid
COLUMNS = 8
BOX = (255, 0, 0)  # colour of boxes
COLORS = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}


def draw_class_counts(data: Data, title: str, path: Path) -> None:
    """Write a picture of what is counted: a bar for each class, the first class on top.

    Of data with numbers, a bar is for a range of these.
    """
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    names, _ = data.bars(data.train)
    classes = np.arange(len(names))
    figure = Figure(figsize=(8, 1.5 + 0.2 * len(classes)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(classes), np.int64)
    for name, part in splits.items():
        _, counts = data.bars(part)
        label = f"{name} ({counts.sum():,})"
        axes.barh(classes, counts, left=left, color=COLORS[name], label=label)
        left += counts
    axes.set_title(title, parse_math=False)
    axes.set(
        xlabel=data.counted,
        yticks=classes,
        yticklabels=names,
    )
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params("y", labelsize=7)
    figure.legend(loc="outside lower center", ncols=len(COLORS))
    figure.savefig(path)


def draw_samples(data: Data, title: str, path: Path) -> None:
    """Write a grid of training images with their labels, equally many of each class.

    Where images have no class each, they are drawn by chance; boxes are drawn in.
    """
    cells = [Picture(_framed(data, index), data.caption(index)) for index in sample(data)]
    grid(cells, COLUMNS, title).savefig(path)


def _framed(data: Data, index: int) -> NDArray[np.uint8]:
    """Return an image with its boxes drawn in, if it has any."""
    pixels: NDArray[np.uint8] = data.images[index].squeeze()
    if not (frames := data.frames(index)):
        return pixels
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for corners in frames:
        pen.rectangle(corners, outline=BOX, width=max(1, data.image_size // 100))
    return np.asarray(image)


def sample(data: Data) -> list[int]:
    """Return the indices of the training images to show, class by class, the same at each call."""
    labels, random = data.labels[data.train], np.random.default_rng(0)
    every = np.unique(labels)
    classes = every[
        np.unique(np.linspace(0, len(every) - 1, min(len(every), SAMPLES)).round().astype(int))
    ]
    each = [
        random.permutation(data.train[labels == number])[: SAMPLES // len(classes)]
        for number in classes
    ]
    return [int(index) for index in np.concatenate(each)]
