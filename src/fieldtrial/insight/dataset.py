"""Pictures of a data set: its splits' images per class, and samples with their class names."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fieldtrial.insight.figures import Picture, grid
from fieldtrial.training.data.boxes.load import BoxData
from fieldtrial.training.data.load import Data

SAMPLES = 40  # at most, and classes at most, in the grid
COLUMNS = 8
BOX = (255, 0, 0)  # colour of boxes
COLORS = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}


def class_counts(data: Data) -> dict[str, NDArray[np.int64]]:
    """Return the images, or boxes, per class, int64 (classes,), of train, validation and test."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: data.count(part) for name, part in splits.items()}


def draw_class_counts(data: Data, title: str, path: Path) -> None:
    """Write a picture of the class counts: a bar for each class, the first class on top."""
    classes = np.arange(len(data.class_names))
    figure = Figure(figsize=(8, 1.5 + 0.2 * len(classes)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(classes), np.int64)
    for name, counts in class_counts(data).items():
        label = f"{name} ({counts.sum():,})"
        axes.barh(classes, counts, left=left, color=COLORS[name], label=label)
        left += counts
    axes.set_title(title, parse_math=False)
    axes.set(
        xlabel="boxes" if isinstance(data, BoxData) else "images",
        yticks=classes,
        yticklabels=data.class_names,
    )
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params("y", labelsize=7)
    figure.legend(loc="outside lower center", ncols=len(COLORS))
    figure.savefig(path)


def draw_samples(data: Data, title: str, path: Path) -> None:
    """Write a grid of training images with their classes' names, equally many of each class.

    Images with boxes are drawn by chance, with their boxes.
    """
    if isinstance(data, BoxData):
        random = np.random.default_rng(0)
        chosen = random.permutation(data.train)[:SAMPLES].tolist()
        cells = [_boxed(data, index) for index in chosen]
    else:
        cells = [
            Picture(data.images[index].squeeze(), data.class_names[data.labels[index]])
            for index in sample(data)
        ]
    grid(cells, COLUMNS, title).savefig(path)


def _boxed(data: BoxData, index: int) -> Picture:
    """Return an image with its boxes drawn in, under the names of their classes."""
    image = Image.fromarray(data.images[index])
    pen, own = ImageDraw.Draw(image), data.boxes.of(index)
    for corners in data.boxes.corners[own] * data.image_size:
        pen.rectangle(corners.tolist(), outline=BOX, width=max(1, data.image_size // 100))
    names = [data.class_names[number] for number in np.unique(data.boxes.labels[own])]
    return Picture(np.asarray(image), ", ".join(names))


def sample(data: Data) -> list[int]:
    """Return the indices of the training images to show, class by class, the same at each call."""
    count = len(data.class_names)
    classes = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).round().astype(int))
    labels, random = data.labels[data.train], np.random.default_rng(0)
    each = [
        random.permutation(data.train[labels == number])[: SAMPLES // len(classes)]
        for number in classes
    ]
    return [int(index) for index in np.concatenate(each)]
