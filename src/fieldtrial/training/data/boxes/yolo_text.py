"""Labelled boxes in YOLO's texts: a file for each image, and a line for each box.

The format is darknet's (https://pjreddie.com/darknet/yolo): a line has the class's number from 0 on
and the box's centre, width and height, in shares of the image.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldtrial.disk.reading import UnreadableError, read_bytes
from fieldtrial.training.data.boxes.labelled import MOST_BOXES, Labels
from fieldtrial.training.data.dataset import TRAIN
from fieldtrial.training.data.sets.image_folder import PARTS
from fieldtrial.training.data.splits import first_of

MOST_BYTES = 1 << 20  # of one image's file, and of the file of class names
MOST_CLASSES = 10_000
NAMES = ("classes.txt", "classes.names", "obj.names")
IMAGES, LABELS = "images", "labels"
NAMED = 10  # lines in a message


def read_yolo(images: Sequence[Path], root: Path) -> Labels:
    """Return the labelled images among `images`, which are all that are below `root`.

    The labels of images/…/a.jpg are in labels/…/a.txt, those of other images beside them. Where a
    folder is called images, images elsewhere are passed over. A part is known by the first folder
    on the way that is called like one. An image without a file of labels has no boxes.
    """
    labels = Labels(())
    labels.class_names, labels.problems = _class_names(root)
    if labels.problems:
        return labels
    of_images = [path for path in images if IMAGES in path.relative_to(root).parts[:-1]]
    chosen = of_images or list(images)
    labels.passed["unlisted"] = len(images) - len(chosen)
    parts = {path: _part(path.relative_to(root)) for path in chosen}
    if len(known := set(parts.values())) > 1 and None in known:
        elsewhere = [str(path.relative_to(root)) for path in chosen if parts[path] is None]
        labels.problems.append(
            f"{root} holds parts and images beside them: {first_of(elsewhere, NAMED)}"
        )
        return labels
    files = {path: _labels_of(path, root) for path in chosen}
    there = {file for file in files.values() if file.is_file()}
    if not there:
        labels.problems.append(
            f"no image has a file of labels; that of {chosen[0]} would be {files[chosen[0]]}"
        )
        return labels
    known_names = {root / name for name in NAMES} | {root / LABELS / name for name in NAMES}
    folders = {file.parent for file in files.values()}
    texts = {file for folder in folders if folder.is_dir() for file in folder.glob("*.txt")}
    labels.passed["without images"] = len(texts - there - known_names)
    for path in chosen:
        rows = _rows(files[path], labels) if files[path] in there else []
        labels.passed["without labels"] += files[path] not in there
        part = parts[path]
        table = np.array(rows, np.float64).reshape(-1, 5)
        centres, sides = table[:, 1:3], table[:, 3:]
        corners = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
        numbers, crowds = table[:, 0].astype(np.int64), np.zeros(len(table), bool)
        labels.add(path, TRAIN if part is None else part, None, corners, numbers, crowds)
    labels.passed["empty images"] -= labels.passed["without labels"]
    more = len(labels.problems) - NAMED
    labels.problems[NAMED:] = [f"and {more:,} more"] if more > 0 else []
    return labels


def _class_names(root: Path) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the classes, a line each of the file that has them, and the problems."""
    places = [folder / name for folder in (root, root / LABELS) for name in NAMES]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        listed = " or ".join(map(str, places[:1]))
        return (), [
            f"no file of class names; write {listed}, with a name in each line, in the order of"
            f" the numbers in the labels (also read: {', '.join(NAMES[1:])})"
        ]
    try:
        text = read_bytes(found, MOST_BYTES).decode()
    except (UnreadableError, UnicodeDecodeError) as error:
        return (), [f"{found}: no file of class names: {error}"]
    names = [line.strip() for line in text.rstrip().splitlines()]
    problems = []
    if not names or not all(name and name.isprintable() for name in names):
        problems.append(f"{found}: must have a class's name in each line")
    if len(set(names)) < len(names):
        problems.append(f"{found}: a name is there twice")
    if len(names) > MOST_CLASSES:
        problems.append(f"{found}: {len(names):,} names; must be at most {MOST_CLASSES:,}")
    return tuple(names), problems


def _part(place: Path) -> int | None:
    """Return the part that a folder on the way to an image names, or None."""
    words = ("".join(c for c in name.casefold() if c.isalpha()) for name in place.parts[:-1])
    return next((PARTS[word] for word in words if word in PARTS), None)


def _labels_of(image: Path, root: Path) -> Path:
    """Return the file with an image's labels, which may not be there."""
    folders = list(image.relative_to(root).parts[:-1])
    if IMAGES in folders:
        last = len(folders) - 1 - folders[::-1].index(IMAGES)
        folders[last] = LABELS
    return root.joinpath(*folders, image.name).with_suffix(".txt")


def _rows(file: Path, labels: Labels) -> list[list[float]]:
    """Return the lines of a file as numbers; what is wrong with them goes to `labels.problems`."""
    try:
        lines = read_bytes(file, MOST_BYTES).decode().splitlines()
    except (UnreadableError, OSError, UnicodeDecodeError) as error:
        labels.problems.append(f"{file}: no labels: {error}")
        return []
    if len(lines) > 10 * MOST_BOXES:
        labels.problems.append(f"{file}: {len(lines):,} lines; must be at most {10 * MOST_BOXES:,}")
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        if not (words := line.split()):
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if why := _fault(values, len(labels.class_names)):
            labels.problems.append(f"{file}, line {number}: {line[:80]!a}: {why}")
            continue
        rows.append(values)
    return rows


def _fault(values: list[float], classes: int) -> str:
    """Return what is wrong with a line's numbers, or nothing."""
    if len(values) != 5:
        return "must be five numbers: class, centre x, centre y, width, height"
    if not (values[0].is_integer() and 0 <= values[0] < classes):
        return f"there is no such class; classes are numbered 0 to {classes - 1}"
    if not all(math.isfinite(value) and abs(value) <= 10 for value in values[1:]):
        return "a box must be given in shares of the image's width and height, from 0 to 1"
    return ""
