"""Labelled boxes in COCO's JSON: one file for each part, which names images, boxes and classes.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014; the format is that of
https://cocodataset.org/#format-data, "Object Detection".
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from fieldtrial.disk.reading import read_bytes
from fieldtrial.fields.printable import counted
from fieldtrial.training.data.boxes.labelled import Labels
from fieldtrial.training.data.dataset import PART_NAMES, TRAIN
from fieldtrial.training.data.sets.image_folder import PARTS
from fieldtrial.training.data.splits import first_of

MOST_BYTES = 2 << 30  # of a file; COCO's own largest has 0.45 GB
INSTANCES = "instances"  # COCO's name for boxes, beside files of captions, key points and others
NAMED = 10  # images in a message
Side = Annotated[int, Meta(ge=1, le=10**6)]
Number = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Length = Annotated[float, Meta(ge=-1e9, le=1e9)]
Text = Annotated[str, Meta(min_length=1, max_length=1000)]


class Picture(msgspec.Struct):
    """An entry of "images"."""

    id: Number
    file_name: Text
    width: Side
    height: Side


class Annotation(msgspec.Struct):
    """An entry of "annotations": bbox is left, top, width and height in pixels."""

    image_id: Number
    category_id: Number
    bbox: tuple[Length, Length, Length, Length] | None = None
    iscrowd: int = 0


class Category(msgspec.Struct):
    """An entry of "categories"."""

    id: Number
    name: Text


class Coco(msgspec.Struct):
    """What is read of a file; other keys are left out."""

    images: list[Picture]
    annotations: list[Annotation]
    categories: list[Category]


class _Keys(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


def read_coco(files: Sequence[Path], images: Sequence[Path], root: Path) -> Labels | None:
    """Return the labelled images of the COCO files among `files`; None where there are none.

    Args:
        files: JSON files. Those that lack one of COCO's three lists are passed over; where some are
            called instances…, others are too. A part is known by the folder of its file, or by the
            file's name: train.json, instances_val2017.json, test/_annotations.coco.json.
        images: the images in `root`. An entry's file_name is the end of the path of one of them.
        root: the data set's folder.
    """
    found = {path: data for path in files if (data := _content(path)) is not None}
    chosen = [path for path in found if path.stem.startswith(INSTANCES)] or list(found)
    if not chosen:
        return None
    parts = {path: _part(path, root) for path in chosen}
    labels = Labels(())
    if len(set(parts.values())) < len(parts):
        both = first_of([f"{path.relative_to(root)} ({PART_NAMES[parts[path]]})" for path in parts])
        labels.problems.append(
            f"{both}: two files of labels for one part; join them, or name them train.json,"
            " val.json and test.json"
        )
        return labels
    decoded: dict[Path, Coco] = {}
    for path in chosen:
        try:
            decoded[path] = msgspec.json.decode(found[path], type=Coco)
        except (ValueError, RecursionError) as error:
            labels.problems.append(f"{path}: no COCO labels of boxes: {error}")
    if labels.problems:
        return labels
    labels.class_names, labels.problems = _classes(decoded)
    if labels.problems:
        return labels
    labels.passed["other files"] = len(files) - len(chosen)
    endings = _Endings(images)
    for path, coco in decoded.items():
        _add(labels, path, coco, parts[path], endings)
    labels.passed["unlisted"] = len(images) - len(set(labels.paths))
    return labels


def _content(path: Path) -> bytes | None:
    """Return the content of a file with COCO's three lists; None for another one.

    Raises:
        UnreadableError: it is too long.
    """
    data = read_bytes(path, MOST_BYTES)
    try:
        keys = msgspec.json.decode(data, type=_Keys)
    except (ValueError, RecursionError):
        return None
    lists = (keys.images, keys.annotations, keys.categories)
    return data if all(bytes(one).lstrip()[:1] == b"[" for one in lists) else None


def _part(path: Path, root: Path) -> int:
    """Return the part that a file labels; without a word for one, the training images."""
    folders = path.relative_to(root).parts[:-1]
    words = [word for text in (*folders, path.stem) for word in re.split(r"[\W\d_]+", text)]
    return next((PARTS[word.casefold()] for word in words if word.casefold() in PARTS), TRAIN)


def _classes(decoded: Mapping[Path, Coco]) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the classes, in the order of the first file's ids, and the problems."""
    problems, names = [], dict[Path, list[str]]()
    for path, coco in decoded.items():
        ordered = sorted(coco.categories, key=lambda one: one.id)
        names[path] = [one.name for one in ordered]
        if len({one.id for one in ordered}) < len(ordered) or len(set(names[path])) < len(ordered):
            problems.append(f"{path}: two categories have one id or one name")
        if odd := [name for name in names[path] if not name.isprintable()]:
            problems.append(f"{path}: the class {odd[0]!a} has a line break or a control character")
    (first, known), *others = names.items()
    if not known:
        problems.append(f"{first}: has no categories")
    for path, own in others:
        if differing := sorted(set(known) ^ set(own)):
            problems.append(
                f"the categories of {first} and {path} disagree: {first_of(differing)} is in one of"
                " them alone"
            )
    return tuple(known), problems


class _Endings:
    """Finds images by the end of their path."""

    def __init__(self, images: Sequence[Path]) -> None:
        self._named = defaultdict[str, list[Path]](list)
        for path in images:
            self._named[path.name].append(path)

    def find(self, name: str, beside: Path) -> list[Path]:
        """Return the images whose path ends with `name`; those nearest to the folder `beside`."""
        ending = Path(name).parts
        fitting = [
            path for path in self._named[ending[-1]] if path.parts[-len(ending) :] == ending
        ] if ending else []  # fmt: skip
        if len(fitting) < 2:
            return fitting
        near = [path for path in fitting if path.is_relative_to(beside)]
        return near or fitting


def _add(labels: Labels, path: Path, coco: Coco, part: int, endings: _Endings) -> None:
    """Add the images of a file with their boxes to `labels`."""
    numbers = {one.id: labels.class_names.index(one.name) for one in coco.categories}
    boxes = defaultdict[int, list[Annotation]](list)
    unknown, classless = set[int](), set[int]()
    pictures = {one.id: one for one in coco.images}
    for one in coco.annotations:
        if one.image_id not in pictures:
            unknown.add(one.image_id)
        elif one.category_id not in numbers:
            classless.add(one.category_id)
        elif one.bbox is None:
            labels.passed["without a box"] += 1
        else:
            boxes[one.image_id].append(one)
    if unknown:
        listed = first_of(sorted(map(str, unknown)), NAMED)
        labels.problems.append(f"{path}: annotations of images that it does not name: id {listed}")
    if classless:
        listed = first_of(sorted(map(str, classless)), NAMED)
        labels.problems.append(f"{path}: annotations of unknown categories: id {listed}")
    if len(pictures) < len(coco.images):
        labels.problems.append(f"{path}: two images have one id")
    missing, several, seen = list[str](), list[str](), set[Path]()
    for picture in pictures.values():
        fitting = endings.find(picture.file_name, path.parent)
        if len(fitting) == 1 and fitting[0] not in seen:
            seen.add(fitting[0])
            _add_image(labels, fitting[0], part, picture, boxes[picture.id], numbers)
        elif fitting:
            several.append(picture.file_name)
        else:
            missing.append(picture.file_name)
    if missing:
        listed = first_of(missing, NAMED)
        labels.problems.append(
            f"{path}: names {counted(len(missing), 'image')} that cannot be found: {listed}"
        )
    if several:
        labels.problems.append(
            f"{path}: names of more than one image, or of one twice: {first_of(several, NAMED)}"
        )


def _add_image(
    labels: Labels,
    image: Path,
    part: int,
    picture: Picture,
    own: Sequence[Annotation],
    numbers: Mapping[int, int],
) -> None:
    sides = np.array([picture.width, picture.height] * 2, np.float64)
    found = np.array([one.bbox for one in own], np.float64).reshape(-1, 4)
    corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1) / sides
    labels.add(
        image,
        part,
        (picture.width, picture.height),
        corners,
        np.array([numbers[one.category_id] for one in own], np.int64),
        np.array([one.iscrowd != 0 for one in own], bool),
    )
