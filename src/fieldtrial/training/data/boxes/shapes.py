"""Made-up pictures of shapes with their boxes: a data set for detectors that needs no file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fieldtrial.training.data.boxes.box_folder import EVERY
from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.data.boxes.stored import BoxAnnotations
from fieldtrial.training.data.dataset import TEST, TRAIN, Contents, Dataset

SIDE = 96  # pixels
COUNTS = {TRAIN: 80, TEST: 20}
CLASSES = ("disc", "rectangle", "triangle")
SEED = 14
MOST = 3  # shapes in a picture
SMALLEST, LARGEST = 20, 44  # sides of a shape's box in pixels
APART = 4  # pixels between two shapes


def shapes(_root: Path) -> Dataset:
    """Return the data set: 100 pictures, each with one to three shapes on noise."""
    return Dataset(name="shapes", fingerprint="1", channels=3, image_size=SIDE, contents=_contents)


def _contents() -> Contents:
    random = np.random.default_rng(SEED)
    arrays, corners, labels = [], list[np.ndarray](), list[np.ndarray]()
    for part, count in COUNTS.items():
        drawn = [draw(random) for _ in range(count)]
        pixels = np.stack([picture for picture, _, _ in drawn])
        arrays.append((part, pixels, np.zeros(count, np.int64)))
        corners += [own for _, own, _ in drawn]
        labels += [own for _, _, own in drawn]
    boxes = Boxes(
        starts=np.cumsum([0, *map(len, labels)]),
        corners=(np.concatenate(corners) / SIDE).astype(np.float32),
        labels=np.concatenate(labels),
        crowds=np.zeros(sum(map(len, labels)), bool),
        class_names=CLASSES,
    )
    sizes = np.full((len(labels), 2), SIDE)
    made = Contents.of_arrays("shapes", EVERY, arrays)
    return replace(made, annotations=BoxAnnotations(boxes, sizes))


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a picture, uint8 (SIDE, SIDE, 3), and its shapes' boxes and labels.

    Boxes are int64 (k, 4), left, top, right and bottom in pixels; no two shapes touch.
    """
    noise = random.integers(70, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    picture = Image.fromarray(noise)
    pen = ImageDraw.Draw(picture)
    boxes: list[list[int]] = []
    labels: list[int] = []
    for _ in range(int(random.integers(1, MOST + 1))):
        width, height = random.integers(SMALLEST, LARGEST + 1, 2).tolist()
        left, top = (int(random.integers(0, SIDE - side + 1)) for side in (width, height))
        box = [left, top, left + width, top + height]
        if any(_touch(box, other) for other in boxes):
            continue
        kind = int(random.integers(len(CLASSES)))
        dark, light = random.integers(0, 50, 3), random.integers(180, 256, 3)
        colour = tuple((light if random.random() < 0.5 else dark).tolist())
        inner = (left, top, left + width - 1, top + height - 1)  # the last pixel counts
        if kind == 0:
            pen.ellipse(inner, fill=colour)
        elif kind == 1:
            pen.rectangle(inner, fill=colour)
        else:
            foot = [(inner[0], inner[3]), (inner[2], inner[3])]
            pen.polygon([(left + width // 2, top), *foot], fill=colour)
        boxes.append(box)
        labels.append(kind)
    return np.asarray(picture), np.array(boxes), np.array(labels)


def _touch(one: list[int], other: list[int]) -> bool:
    across = one[0] < other[2] + APART and other[0] < one[2] + APART
    return across and one[1] < other[3] + APART and other[1] < one[3] + APART
