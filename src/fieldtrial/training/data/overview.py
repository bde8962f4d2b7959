"""Pictures of a data set: how many images of each class its splits have, and samples with their
names.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fieldtrial.training.data.load import Data

SAMPLES = 40  # in the grid, at most
COLUMNS = 8
COLORS = {"train": "tab:blue", "validation": "tab:orange", "test": "tab:green"}


def class_counts(data: Data) -> dict[str, NDArray[np.int64]]:
    """Return the images per class, int64 (classes,), of train, validation and test."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        name: np.bincount(data.labels[part], minlength=len(data.class_names))
        for name, part in splits.items()
    }


def draw_class_counts(data: Data, title: str, path: Path) -> None:
    """Write a picture of the class counts per split: a bar for each class, the first
    class on top.
    """
    classes = np.arange(len(data.class_names))
    figure = Figure(figsize=(8, 1.5 + 0.2 * len(classes)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(classes), np.int64)
    for name, counts in class_counts(data).items():
        axes.barh(
            classes, counts, left=left, color=COLORS[name], label=f"{name} ({counts.sum():,})"
        )
        left += counts
    axes.set_title(title, parse_math=False)
    axes.set(xlabel="images", yticks=classes, yticklabels=data.class_names)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params("y", labelsize=7)
    figure.legend(loc="outside lower center", ncols=len(COLORS))
    figure.savefig(path)


def draw_samples(data: Data, title: str, path: Path) -> None:
    """Write a grid of training images with their classes' names: as many of each class, of at most
    40 classes.
    """
    shown = sample(data)
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(1.6 * COLUMNS, 1.9 * rows + 0.5), layout="constrained")
    figure.suptitle(title, parse_math=False)
    for number, index in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, COLUMNS, number)
        axes.imshow(data.images[index].squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(data.class_names[data.labels[index]], fontsize=7, parse_math=False)
        axes.set_axis_off()
    figure.savefig(path)


def sample(data: Data) -> list[int]:
    """Return the indices of the training images that are shown, class by class, the same at every
    call.
    """
    count = len(data.class_names)
    classes = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).round().astype(int))
    labels, random = data.labels[data.train], np.random.default_rng(0)
    each = [
        random.permutation(data.train[labels == number])[: SAMPLES // len(classes)]
        for number in classes
    ]
    return [int(index) for one in each for index in one]
