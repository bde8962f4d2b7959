"""A data set before it is decoded: images with labels and parts, and a fingerprint."""

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fieldtrial.config import ConfigError
from fieldtrial.fields.choices import TaskName
from fieldtrial.training.data.labels.strata import classes_to_cut
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices, first_of, stratified_cut

TRAIN, VALIDATION, TEST = 0, 1, 2
PART_NAMES = ("training", "validation", "test")
NAMED_FILES = 20  # damaged files named in one message
TEST_FRACTION = 0.2  # of a data set without a test set; the split is the same for every seed


@dataclass(frozen=True)
class Wanted:
    """What the images of a trial must be labelled with.

    task: that learns it. target: the name of a number, where there may be several; else None.
    """

    task: TaskName = "classification"
    target: str | None = None


class Annotations(Protocol):
    """What the images of a data set have in the place of a class each, such as boxes."""

    def misfit(self, index: int, size: tuple[int, int]) -> str:
        """Return why image `index` of this width and height has none of these labels, or ""."""

    def write(self, folder: Path, sizes: Indices, recipe: AnyRecipe | None) -> bytes:
        """Write the labels into the folder of a store; return a digest of them.

        sizes: int64 (n, 2), width and height of the images. recipe: how they became squares.
        """


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The images of a data set, numbered from 0.

    Attributes:
        class_names: in the order of the labels.
        labels: int64 (n,).
        parts: uint8 (n,), TRAIN, VALIDATION or TEST.
        image: opens image i; it raises whatever the image's decoder raises.
        content: what image i is told apart by: the bytes of its file, or of its pixels.
        where: says where image i is, for messages.
        are_files: whether the images are files of their own, which may come and go.
        annotations: further labels; None where a class is all.
        strata: int64 (n,), what images are cut by, as if these were classes; None: their classes.
        remarks: as those of a Dataset, where only reading the labels tells.
    """

    class_names: tuple[str, ...]
    labels: Indices
    parts: NDArray[np.uint8]
    image: Callable[[int], Image.Image]
    content: Callable[[int], bytes]
    where: Callable[[int], str]
    are_files: bool = False
    annotations: Annotations | None = None
    strata: Indices | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_files(
        cls, class_names: tuple[str, ...], samples: Sequence[tuple[Path, int, int]]
    ) -> "Contents":
        """Return the images of `samples`: each one's file, label and part."""
        return cls(
            class_names=class_names,
            labels=np.array([label for _, label, _ in samples], np.int64),
            parts=np.array([part for _, _, part in samples], np.uint8),
            image=lambda index: Image.open(samples[index][0]),
            content=lambda index: samples[index][0].read_bytes(),
            where=lambda index: str(samples[index][0]),
            are_files=True,
        )

    @classmethod
    def of_arrays(
        cls,
        dataset: str,
        class_names: tuple[str, ...],
        arrays: Sequence[tuple[int, NDArray[np.uint8], Indices]],
    ) -> "Contents":
        """Return the images of `arrays`: a part each, its pixels and its labels.

        Pixels are (n, height, width), or (n, height, width, 3) for colour.
        """
        parts, pixels, labels = zip(*arrays, strict=True)
        ends = np.cumsum([len(one) for one in pixels])

        def one(index: int) -> NDArray[np.uint8]:
            array = int(np.searchsorted(ends, index, side="right"))
            # counted from its array's end
            return np.ascontiguousarray(pixels[array][index - ends[array]])

        return cls(
            class_names=class_names,
            labels=np.concatenate(labels),
            parts=np.repeat(np.array(parts, np.uint8), [len(one) for one in pixels]),
            image=lambda index: Image.fromarray(one(index)),
            content=lambda index: one(index).tobytes(),
            where=lambda index: f"{dataset}, image {index}",
        )

    def read(self, index: int) -> tuple[bytes, Image.Image]:
        """Return what image i is told apart by, and the image opened: a file is read once.

        Raises whatever reading the file or the image's decoder raises.
        """
        content = self.content(index)
        if not self.are_files:
            return content, self.image(index)
        try:
            return content, Image.open(io.BytesIO(content))
        except UnidentifiedImageError:  # Pillow names the bytes' address
            raise UnidentifiedImageError("Pillow does not know its format") from None

    def classes_to_cut(self, fraction: float) -> tuple[Indices, tuple[str, ...]]:
        """Return what images are cut by, and its names; see `strata.classes_to_cut`."""
        return classes_to_cut(self.labels, self.class_names, self.strata, fraction)

    def with_test_split(self, fraction: float = TEST_FRACTION) -> "Contents":
        """Return the same images, a fixed stratified `fraction` of them as the test set.

        Raises:
            ValueError: a class has too few images; the message names it.
        """
        parts, cut_by = self.parts.copy(), self.classes_to_cut(fraction)
        parts[stratified_cut(*cut_by, fraction, seed=0)[1]] = TEST
        return replace(self, parts=parts)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that was found, and is not yet decoded.

    Attributes:
        name: as in the config; a folder's has its path.
        fingerprint: a text that changes with its files, as far as a few `stat` calls show it.
        channels: 1 for grey images, 3 for colour.
        image_size: side in pixels of its images; where they differ, the size usual for them.
        contents: lists the images, which may take long.
        test_fraction: share of each class that is still to be split off as the test set where the
            contents have none; see `image_store.with_test_images`. None: they have one.
        remarks: what was passed over, and which folder was taken for what: a line each.
    """

    name: str
    fingerprint: str
    channels: int
    image_size: int
    contents: Callable[[], Contents]
    remarks: tuple[str, ...] = ()
    test_fraction: float | None = None


def problem(dataset: str, *texts: str) -> ConfigError:
    """Return the error about a data set, with a line for each of `texts`."""
    return ConfigError([f"dataset = {dataset!r}: {text}" for text in texts])


def unreadable(dataset: str, problems: Sequence[str]) -> ConfigError:
    """Return the error about images that cannot be decoded, with the first of `problems`."""
    more = [f"and {len(problems) - NAMED_FILES} more"] if len(problems) > NAMED_FILES else []
    return problem(dataset, *problems[:NAMED_FILES], *more)


def require_every_class(dataset: str, contents: Contents) -> None:
    """Raise ConfigError, naming the classes, if a part of the data set lacks images of a class."""
    problems = []
    for part in np.unique(np.append(contents.parts, [TRAIN, TEST])):
        counts = np.bincount(
            contents.labels[contents.parts == part], minlength=len(contents.class_names)
        )
        lacking = [repr(contents.class_names[number]) for number in np.flatnonzero(counts == 0)]
        if lacking:
            problems.append(f"no {PART_NAMES[part]} image of {first_of(lacking)}")
    if problems:
        raise problem(dataset, *problems)


def files_fingerprint(paths: Iterable[Path]) -> str:
    """Return a digest of the paths' names, sizes and modification times.

    Raises:
        OSError: one of them is missing or cannot be read.
    """
    facts = [
        (path.name, stat.st_size, stat.st_mtime_ns) for path in paths for stat in [path.stat()]
    ]
    return hashlib.sha256(repr(facts).encode(errors="surrogateescape")).hexdigest()
