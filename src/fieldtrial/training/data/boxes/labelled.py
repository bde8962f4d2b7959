"""The boxes of many images: in arrays, one image's after another's, and what was passed over."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldtrial.fields.printable import counted
from fieldtrial.training.data.content import Keys, key_of
from fieldtrial.training.data.splits import Indices, first_of

MOST_BOXES = 1000  # of one image
# A box may reach so far out of its image, in shares of it, before that is worth a remark.
ROUNDING = 0.002


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of n images.

    Attributes:
        starts: int64 (n + 1,): image i has the boxes from starts[i] to starts[i + 1].
        corners: float32 (m, 4), left, top, right and bottom, in shares of the image's sides.
        labels: int64 (m,), numbers of classes.
        crowds: bool (m,): whether a box is around a crowd, which is neither found nor missed.
        class_names: in the order of the labels.
    """

    starts: Indices
    corners: NDArray[np.float32]
    labels: Indices
    crowds: NDArray[np.bool_]
    class_names: tuple[str, ...]

    def of(self, index: int) -> slice:
        """Return where the boxes of image `index` are."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def keys(self) -> Keys:
        """Return a key of each image's boxes and their classes, (n,)."""
        found = (
            (self.corners[own].tobytes() + self.labels[own].tobytes() + self.crowds[own].tobytes())
            for own in map(self.of, range(len(self.starts) - 1))
        )
        return np.fromiter(map(key_of, found), np.uint64, len(self.starts) - 1)

    def of_classes(self, chosen: list[int]) -> "Boxes":
        """Return the boxes of the classes `chosen`, which are numbered from 0 in that order."""
        numbers = np.full(len(self.class_names), -1)
        numbers[chosen] = np.arange(len(chosen))
        labels = numbers[self.labels]
        kept = labels >= 0
        return replace(
            self,
            starts=np.concatenate([[0], np.cumsum(kept)])[self.starts],
            corners=self.corners[kept],
            labels=labels[kept],
            crowds=self.crowds[kept],
            class_names=tuple(self.class_names[number] for number in chosen),
        )

    def counts(self) -> list[int]:
        """Return how many boxes each class has, crowds left out."""
        found = np.bincount(self.labels[~self.crowds], minlength=len(self.class_names))
        return [int(count) for count in found]


@dataclass
class Labels:
    """The labelled images of a folder, as they are read.

    Attributes:
        class_names: in the order of the labels.
        paths, parts: of the images.
        sizes: width and height in pixels that an image's boxes were made for; None: any.
        problems: what makes the folder unusable, a line each.
        passed: what was passed over or changed, with how often.
    """

    class_names: tuple[str, ...]
    paths: list[Path] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int] | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    _corners: list[NDArray[np.float64]] = field(default_factory=list)
    _labels: list[Indices] = field(default_factory=list)
    _crowds: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(
        self,
        path: Path,
        part: int,
        size: tuple[int, int] | None,
        corners: NDArray[np.float64],
        labels: Indices,
        crowds: NDArray[np.bool_],
    ) -> None:
        """Add an image with its boxes; corners (k, 4) are shares of the image, and finite."""
        if len(corners) > MOST_BOXES:
            self.problems.append(f"{path}: {len(corners):,} boxes; must be at most {MOST_BOXES:,}")
            return
        inside = corners.clip(0, 1)
        has_area = (inside[:, 2:] > inside[:, :2]).all(1)
        reaches_out = (np.abs(corners - inside).max(1, initial=0) > ROUNDING) & has_area
        rows = np.column_stack([inside, labels, crowds])
        first = np.zeros(len(rows), bool)
        if len(rows):
            first[np.unique(rows, axis=0, return_index=True)[1]] = True
        kept = has_area & first
        self.passed["without area or outside"] += int((~has_area).sum())
        self.passed["cut"] += int((reaches_out & first).sum())
        self.passed["twice"] += int((has_area & ~first).sum())
        self.passed["empty images"] += not kept.any()
        self.paths.append(path)
        self.parts.append(part)
        self.sizes.append(size)
        self._corners.append(inside[kept])
        self._labels.append(labels[kept])
        self._crowds.append(crowds[kept])

    def boxes(self) -> Boxes:
        """Return the boxes of all images; there is one image or more."""
        ends = np.cumsum([len(own) for own in self._labels])
        return Boxes(
            starts=np.concatenate([[0], ends]).astype(np.int64),
            corners=np.concatenate(self._corners).astype(np.float32),
            labels=np.concatenate(self._labels).astype(np.int64),
            crowds=np.concatenate(self._crowds).astype(bool),
            class_names=self.class_names,
        )

    def remarks(self) -> tuple[str, ...]:
        """Return a line on what the boxes are, and one for each kind of thing passed over."""
        boxes = self.boxes()
        counts = dict(zip(self.class_names, boxes.counts(), strict=True))
        listed = first_of([f"{count:,} {name}" for name, count in counts.items()])
        lines = [f"{counted(sum(counts.values()), 'box')}: {listed}"]
        lines += [
            text.format(counted(count, what))
            for kind, (what, text) in KINDS.items()
            if (count := self.passed[kind])
        ]
        return tuple(lines)


# What is counted, and the line.
KINDS: Mapping[str, tuple[str, str]] = {
    "empty images": ("image", "{} without a box (background alone)"),
    "without labels": ("image", "{} without a file of labels, taken as without a box"),
    "without images": ("file", "passed over {} of labels without an image"),
    "unlisted": ("image", "passed over {} that no file of labels names"),
    "without a box": ("annotation", "passed over {} without a box"),
    "without area or outside": ("box", "passed over {} without area, or outside of the image"),
    "twice": ("duplicate box", "passed over {}"),
    "cut": ("box", "cut {} at the border of the image"),
    "other files": ("JSON file", "passed over {} without boxes of COCO's kind"),
}
