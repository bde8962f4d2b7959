"""Images that are computed: discs, rings and squares in noise."""

from pathlib import Path

import numpy as np

from fieldtrial.training.contracts import Images

SIDE = 24  # pixels
CLASSES = ("disc", "ring", "square")


def outlines(_root: Path, count: int = 600, noise: float = 0.4) -> Images:
    """Return `count` grey images, as many of each class; `noise` is its deviation, of white."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % len(CLASSES)
    places, sizes = random.uniform(9, 15, (count, 2, 1, 1)), random.uniform(5, 8, (count, 1, 1))
    rows, columns = np.abs(np.indices((SIDE, SIDE))[:, None] - places.swapaxes(0, 1))
    distances = np.hypot(rows, columns)
    shapes = [
        distances < sizes,
        (distances < sizes) & (distances > sizes / 2),
        np.maximum(rows, columns) < 0.85 * sizes,
    ]
    shown = np.choose(labels[:, None, None], shapes) * 0.6 + random.normal(0.2, noise, rows.shape)
    return Images(
        images=(shown.clip(0, 1) * 255).astype(np.uint8), labels=labels, class_names=CLASSES
    )
