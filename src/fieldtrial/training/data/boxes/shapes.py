"""Made-up pictures of shapes: a data set with boxes, labels or a number that needs no file."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from fieldtrial.fields.choices import TaskName
from fieldtrial.training.data.boxes.box_folder import EVERY
from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.data.boxes.stored import BoxAnnotations
from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Annotations,
    Contents,
    Dataset,
    Wanted,
    problem,
)
from fieldtrial.training.data.labels.strata import by_quantile, by_rarest_label
from fieldtrial.training.data.labels.targets import Targets
from fieldtrial.training.data.splits import Indices

SIDE = 96  # pixels
COUNTS = {TRAIN: 80, TEST: 20}
CLASSES = ("disc", "rectangle", "triangle")
SEED = 14
COVERED = "covered"  # the number: which share of the picture the boxes cover
MOST = 3  # shapes in a picture
SMALLEST, LARGEST = 20, 44  # sides of a shape's box in pixels
APART = 4  # pixels between two shapes


def shapes(wanted: Wanted) -> Dataset:
    """Return the data set: 100 pictures, each with one to three shapes on noise.

    They are labelled with the boxes of the shapes, with which shapes there are, or with the share
    of the picture that their boxes cover.

    Raises:
        ConfigError: another number is wanted.
    """
    if wanted.target not in (None, COVERED):
        raise problem("shapes", f"target = {wanted.target!r}: must be {COVERED}, or none")
    label = LABELLED.get(wanted.task, _with_boxes)
    fingerprint = f"1 {wanted.task}" if wanted.task in LABELLED else "1"
    return Dataset(
        name="shapes",
        fingerprint=fingerprint,
        channels=3,
        image_size=SIDE,
        contents=lambda: _contents(label),
    )


def _contents(label: "Label") -> Contents:
    random = np.random.default_rng(SEED)
    arrays, corners, labels = [], list[np.ndarray](), list[np.ndarray]()
    for part, count in COUNTS.items():
        drawn = [draw(random) for _ in range(count)]
        pixels = np.stack([picture for picture, _, _ in drawn])
        arrays.append((part, pixels, np.zeros(count, np.int64)))
        corners += [own for _, own, _ in drawn]
        labels += [own for _, _, own in drawn]
    annotations, strata = label(corners, labels)
    made = Contents.of_arrays("shapes", EVERY, arrays)
    return replace(made, annotations=annotations, strata=strata)


def _with_boxes(
    corners: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[Annotations, None]:
    boxes = Boxes(
        starts=np.cumsum([0, *map(len, labels)]),
        corners=(np.concatenate(corners) / SIDE).astype(np.float32),
        labels=np.concatenate(labels),
        crowds=np.zeros(sum(map(len, labels)), bool),
        class_names=CLASSES,
    )
    return BoxAnnotations(boxes, np.full((len(labels), 2), SIDE)), None


def _with_names(
    _corners: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[Annotations, Indices]:
    values = np.array([np.isin(np.arange(len(CLASSES)), own) for own in labels], np.uint8)
    return Targets(values, CLASSES), by_rarest_label(values)


def _with_number(
    corners: Sequence[np.ndarray], _labels: Sequence[np.ndarray]
) -> tuple[Annotations, Indices]:
    areas = [(own[:, 2:] - own[:, :2]).prod(1).sum() for own in corners]
    values = np.array(areas, float) / SIDE**2  # boxes do not overlap
    return Targets(values[:, None], (COVERED,)), by_quantile(values)


# From the boxes of each picture, int64 (k, 4), and their labels to annotations and strata.
Label = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], tuple[Annotations, Indices | None]]
LABELLED: dict[TaskName, Label] = {"multilabel": _with_names, "regression": _with_number}


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
