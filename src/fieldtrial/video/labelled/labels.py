"""What people have labelled in some frames of a video, to compare with: --check.

COCO's JSON (T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014), or a folder
of YOLO's texts, one for each frame: class, centre and size in shares of the frame.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from fieldtrial.config import ConfigError
from fieldtrial.detection.names import read_names
from fieldtrial.disk.reading import UnreadableError, read_bytes
from fieldtrial.disk.schemas import Count, Seconds
from fieldtrial.video.summary import Direction

MOST_BYTES = 256 << 20
MOST_BOXES = 10_000  # of a frame
LARGEST_SHARE = 10.0
SHOWN = 5  # examples in a message
OWN_COUNTS = "counts.json"  # beside YOLO's texts
CLASS_LISTS = ("classes.txt", "obj.names")  # what labelling tools put beside YOLO's texts
# COCO's own names, where darknet's list has others.
DARKNET_NAMES = {
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}
Item = TypeVar("Item")
Length = Annotated[float, Meta(ge=-1e6, le=1e6)]
Side = Annotated[int, Meta(ge=1, le=65_535)]
Text = Annotated[str, Meta(max_length=4096)]
Id = int | str


class Picture(msgspec.Struct):
    """A frame: by `frame`, its number from 0, or by a file's name."""

    id: Id
    file_name: Text | None = None
    frame: Count | None = None
    width: Side | None = None
    height: Side | None = None


class Annotation(msgspec.Struct):
    """A labelled box: left, top, width and height. `track_id` is the vehicle's."""

    image_id: Id
    category_id: Id
    bbox: tuple[Length, Length, Length, Length]
    iscrowd: bool | int = False
    track_id: Count | None = None


class Category(msgspec.Struct):
    """A class."""

    id: Id
    name: Text


class Content(msgspec.Struct):
    """A file of labels. COCO's keys, and what was counted by hand.

    counts: {line: {direction: how many crossed, or when each did}}. counted: first and last second
    of the stretch that was counted; the whole video without it.
    """

    images: list[Picture] = []
    annotations: list[Annotation] = []
    categories: list[Category] = []
    counts: dict[Text, dict[Direction, Count | list[Seconds]]] = {}
    counted: tuple[Seconds, Seconds] | None = None


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """The boxes of a frame.

    Attributes:
        boxes: float64 (n, 4), left, top, right and bottom in pixels.
        labels: int64 (n,), numbers of classes.
        vehicles: int64 (n,), numbers that a vehicle keeps from frame to frame; -1: not labelled.
        crowds: float64 (m, 4), boxes around many, in which nothing is found or missed.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    vehicles: NDArray[np.int64]
    crowds: NDArray[np.float64]


@dataclass(frozen=True)
class Labels:
    """What was labelled: frames by number, counts by line, and how often what was passed over."""

    frames: dict[int, LabelledFrame] = field(default_factory=dict)
    counts: dict[str, dict[Direction, int | list[float]]] = field(default_factory=dict)
    counted: tuple[float, float] | None = None
    passed: Counter[str] = field(default_factory=Counter)


def read_labels(
    path: Path,
    class_names: Sequence[str],
    size: tuple[int, int],
    numbers: Mapping[str, int] | None = None,
    network_names: Sequence[str] = (),
) -> Labels:
    """Return the labels in a file in COCO's format, or in a folder of YOLO's texts.

    A frame is known by its number from 0: COCO's key `frame`, or the last number in the name of the
    file. What else it may contain: see `Content`; a folder has that in counts.json.

    Args:
        class_names: that are looked for; boxes of others are passed over, and counted.
        size: width and height of the video's frames.
        numbers: of the frames of an image folder, by the names of their files.
        network_names: what the numbers in YOLO's texts mean without a list in the folder.

    Raises:
        ConfigError: what is wrong with the labels, all at once.
        UnreadableError, OSError: a file that cannot be read, or is no such file.
    """
    if not path.exists():
        raise ConfigError(
            ["does not exist; must be COCO's JSON, or a folder of YOLO's texts"],
            where=f"--check {path}",
        )
    reader = _Reader(class_names, size, numbers)
    if path.is_dir():
        reader.read_texts(path, network_names)
        path = path / OWN_COUNTS
    if path.name != OWN_COUNTS or path.exists():
        reader.read_json(path)
    labels = reader.labels
    if not labels.frames and not labels.counts and not reader.problems:
        reader.problems.append("has neither labelled frames nor counts")
    if reader.problems:
        raise ConfigError(reader.problems, where=f"--check {path}")
    return labels


class _Reader:
    def __init__(
        self, class_names: Sequence[str], size: tuple[int, int], numbers: Mapping[str, int] | None
    ) -> None:
        self._known = {name: label for label, name in enumerate(class_names)}
        self._size, self._numbers = size, numbers
        self._stems = {Path(one).stem: number for one, number in (numbers or {}).items()}
        self.problems = list[str]()
        self.labels = Labels()

    def read_json(self, path: Path) -> None:
        try:
            content = msgspec.json.decode(read_bytes(path, MOST_BYTES), type=Content)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            self.problems.append(f"not labels in COCO's form: {error}")
            return
        names = {one.id: one.name for one in content.categories}
        boxes = dict[Id, list[Annotation]]()
        for one in content.annotations:
            boxes.setdefault(one.image_id, []).append(one)
        pictures = {one.id: one for one in content.images}
        if len(pictures) < len(content.images):
            self.problems.append("two images have one id")
        self._complain("annotations of images that are not there: id", boxes.keys() - pictures)
        used = {one.category_id for one in content.annotations}
        self._complain("annotations of categories that are not there: id", used - names.keys())
        for picture in pictures.values():
            own = boxes.get(picture.id, [])
            found = np.array([one.bbox for one in own], np.float64).reshape(-1, 4)
            found[:, 2:] += found[:, :2]
            number = picture.frame
            if number is None:
                number = self._number(picture.file_name or "", f"image {picture.id!r}")
            if number is not None and self._has_size(picture, number):
                self._add(
                    number,
                    found,
                    [names.get(one.category_id, "") for one in own],
                    [-1 if one.track_id is None else one.track_id for one in own],
                    [bool(one.iscrowd) for one in own],
                )
        first, last = content.counted or (0.0, float("inf"))
        if first >= last:
            self.problems.append(f"counted: from {first:g} s to {last:g} s; must be a stretch")
        for line, ways in content.counts.items():
            times = [time for way in ways.values() if isinstance(way, list) for time in way]
            if outside := [time for time in times if not first <= time <= last]:
                self.problems.append(
                    f"counts: {line!r} has {outside[0]:g} s; must be from {first:g} to {last:g} s"
                )
        self.labels = Labels(
            self.labels.frames, content.counts, content.counted, self.labels.passed
        )

    def read_texts(self, folder: Path, network_names: Sequence[str]) -> None:
        names = list(network_names)
        for name in CLASS_LISTS:
            if (folder / name).exists():
                try:
                    names = list(read_names(folder / name))
                except ConfigError as error:
                    self.problems += error.problems
                    return
        for path in sorted(folder.glob("*.txt")):
            if path.name in CLASS_LISTS:
                continue
            number = self._number(path.name, path.name)
            try:
                rows = [_yolo_row(line) for line in _text(path).splitlines() if line.strip()]
            except (UnreadableError, ValueError) as error:
                self.problems.append(f"{path.name}: {error}")
                continue
            if beyond := sorted({int(row[0]) for row in rows if row[0] >= len(names)}):
                self.problems.append(
                    f"{path.name}: class {beyond[0]}; must be from 0 to {len(names) - 1}, as"
                    f" {' or '.join(CLASS_LISTS)} or the network's names say"
                )
            elif number is not None:
                table = np.array(rows, np.float64).reshape(-1, 5)
                centre, half = table[:, 1:3], table[:, 3:] / 2
                boxes = np.hstack([centre - half, centre + half]) * (self._size * 2)
                own = [names[int(label)] for label in table[:, 0]]
                self._add(number, boxes, own, [-1] * len(own), [False] * len(own))

    def _number(self, name: str, where: str) -> int | None:
        """Return the number of the frame that a file is named after."""
        if self._numbers is not None:
            number = self._numbers.get(Path(name).name, self._stems.get(Path(name).stem))
            if number is None:
                self.problems.append(f"{where}: no image of the folder is called {name!r}")
            return number
        found = re.findall(r"[0-9]{1,15}", Path(name).stem)
        if not found:
            self.problems.append(
                f"{where}: has no frame; must have the key frame, or a file name with the frame's"
                f" number from 0 at its end, not {name!r}"
            )
        return int(found[-1]) if found else None

    def _has_size(self, picture: Picture, number: int) -> bool:
        width, height = self._size
        own = (picture.width or width, picture.height or height)
        if own != self._size:
            self.problems.append(
                f"frame {number}: labelled at {own[0]}×{own[1]} pixels; must be {width}×{height},"
                " as in the video"
            )
        return own == self._size

    def _add(
        self,
        number: int,
        boxes: NDArray[np.float64],
        names: Sequence[str],
        vehicles: Sequence[int],
        crowds: Sequence[bool],
    ) -> None:
        if number in self.labels.frames:
            self.problems.append(f"frame {number} is labelled twice")
        if len(boxes) > MOST_BOXES:
            self.problems.append(
                f"frame {number}: {len(boxes):,} boxes; must be at most {MOST_BOXES:,}"
            )
        if not (np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()):
            self.problems.append(f"frame {number}: a box has no width or no height")
        labels = np.array(
            [
                self._known.get(name, self._known.get(DARKNET_NAMES.get(name, ""), -1))
                for name in names
            ],
            np.int64,
        )
        for name, label in zip(names, labels, strict=True):
            if label < 0 and name:
                self.labels.passed[f"boxes of the class {name}"] += 1
        crowd = np.array(crowds, bool)
        kept = (labels >= 0) & ~crowd
        self.labels.frames[number] = LabelledFrame(
            boxes[kept],
            labels[kept],
            np.array(vehicles, np.int64)[kept],
            boxes[(labels >= 0) & crowd],
        )

    def _complain(self, what: str, ids: Any) -> None:
        if ids:
            shown = ", ".join(sorted(map(repr, ids))[:SHOWN])
            self.problems.append(f"{what} {shown}{', …' if len(ids) > SHOWN else ''}")


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise ValueError("must be text in UTF-8") from None


def _yolo_row(line: str) -> list[float]:
    try:
        row = [float(cell) for cell in line.split()]
    except ValueError:
        row = []
    # Five numbers, or they are a polygon's; boxes may reach beyond the frame, but pixels are more.
    fits = len(row) == 5 and row[0].is_integer() and row[0] >= 0
    if not fits or not all(abs(share) <= LARGEST_SHARE for share in row[1:]):
        raise ValueError(
            f"{line[:80]!r}: must be class, x, y, width and height, in shares of the frame"
        )
    return row
