"""Own data sets."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fieldtrial.training.data.dataset import (
    PART_NAMES,
    TEST,
    TEST_FRACTION,
    TRAIN,
    VALIDATION,
    Contents,
    Dataset,
    files_fingerprint,
    problem,
)
from fieldtrial.training.data.splits import first_of
from fieldtrial.training.parts.part import Part, own_part
from fieldtrial.training.parts.saying import of_kind

PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
IMAGE_SIZE = 224  # of images in files, as of folders of images
COLOUR = 3  # channels


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images with their classes, in memory or in files.

    Attributes:
        images: uint8 (n, height, width), or (n, height, width, 3) for colour; or n paths of image
            files, relative ones from the data root.
        labels: n whole numbers, from 0 on.
        class_names: in the order of the labels.
        parts: "train", "validation" or "test" for each image. Without images for validation or the
            test these are split off; None: all are training images to begin with.
        image_size: side in pixels that a model gets without a config's own; None: the height of
            images in memory, 224 of files.
    """

    images: NDArray[np.uint8] | Sequence[str | Path]
    labels: ArrayLike
    class_names: Sequence[str]
    parts: Sequence[str] | None = None
    image_size: int | None = None


class DatasetPart(Protocol):
    """What finds a data set: a function."""

    def __call__(self, root: Path, /, *_: Any, **options: Any) -> Images | Dataset:
        """Return the images; or a Dataset, which lists them only when they are to be decoded.

        root: the data root, $FIELDTRIAL_DATA.
        """


def own_dataset(name: str, root: Path, options: Mapping[str, Any]) -> Dataset:
    """Return the own data set `name`.

    Raises:
        ConfigError: it gave something else, or images, labels, names and parts that do not fit.
        OwnCodeError: it has raised something.
    """
    part = own_part("dataset", name, options)
    found = part(root)
    if isinstance(found, Dataset):
        # its fingerprint tells of its files, not of what is made of them
        fingerprint = f"{found.fingerprint} {part.identity}"
        listed = replace(part, call=found.contents, options={})  # what it raises is told alike
        return replace(
            found,
            name=name,
            fingerprint=fingerprint,
            contents=lambda: _checked(part, listed()),
        )
    if not isinstance(found, Images):
        raise part.unexpected(found, "Images or a Dataset")
    return _dataset(part, found, root)


def _dataset(part: Part, found: Images, root: Path) -> Dataset:
    """Return the data set of these images. Raises ConfigError where they do not fit."""
    names, labels = tuple(found.class_names), np.asarray(found.labels)
    stored = _stored(part, found, root)
    parts = _parts(part, found.parts, len(stored))
    contents = _checked(part, _contents(part.name, stored, labels, names, parts))
    side, channels = IMAGE_SIZE, COLOUR
    if isinstance(stored, np.ndarray):
        side, channels = stored.shape[1], COLOUR if stored.ndim > COLOUR else 1
    return Dataset(
        name=part.name,
        fingerprint=_fingerprint(contents, stored, found),
        channels=channels,
        image_size=found.image_size or side,
        contents=lambda: contents,
        test_fraction=None if TEST in parts else TEST_FRACTION,
    )


def _stored(part: Part, found: Images, root: Path) -> NDArray[np.uint8] | list[Path]:
    """Return the images in memory, or their files. Raises ConfigError where they are neither."""
    stored = found.images
    if not isinstance(stored, np.ndarray):
        paths = [root / path for path in stored]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise part.refused(f"no such files: {first_of(missing)}")
        return paths
    if stored.dtype != np.uint8 or stored.shape[3:] not in ((), (COLOUR,)) or stored.ndim < 3:
        raise part.refused(
            f"images are {of_kind(stored)}, {stored.dtype}; uint8 (n, height, width) or"
            " (n, height, width, 3) was expected"
        )
    return stored


def _parts(part: Part, named: Sequence[str] | None, count: int) -> NDArray[np.uint8]:
    if named is None:
        return np.full(count, TRAIN, np.uint8)
    if strange := [repr(one) for one in dict.fromkeys(named) if one not in PARTS]:
        raise part.refused(f"parts: {first_of(strange)}; must be one of {', '.join(PARTS)}")
    return np.array([PARTS[one] for one in named], np.uint8)


def _contents(
    name: str,
    stored: NDArray[np.uint8] | list[Path],
    labels: NDArray[Any],
    class_names: tuple[str, ...],
    parts: NDArray[np.uint8],
) -> Contents:
    if isinstance(stored, list):
        files = stored
        return Contents(
            class_names=class_names,
            labels=labels,
            parts=parts,
            image=lambda index: Image.open(files[index]),
            content=lambda index: files[index].read_bytes(),
            where=lambda index: str(files[index]),
            are_files=True,
        )
    pixels = stored
    return Contents(
        class_names=class_names,
        labels=labels,
        parts=parts,
        image=lambda index: Image.fromarray(np.ascontiguousarray(pixels[index])),
        content=lambda index: pixels[index].tobytes(),
        where=lambda index: f"{name}, image {index}",
    )


def _checked(part: Part, contents: Contents) -> Contents:
    """Return the contents with labels int64 and names. Raises ConfigError where they do not fit."""
    names, labels, parts = contents.class_names, np.asarray(contents.labels), contents.parts
    problems = []
    if len(names) < 2 or len(set(names)) < len(names) or not all(map(_is_name, names)):
        problems.append(
            f"class_names are {first_of([*map(repr, names)])}: must be 2 or more texts,"
            " each another"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        problems.append(
            f"labels are {of_kind(labels)}, {labels.dtype}; whole numbers (n,) were expected"
        )
    elif len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        problems.append(
            f"labels are {labels.min()} to {labels.max()}: must be 0 to"
            f" {len(names) - 1}, for there are {len(names)} class_names"
        )
    if len(labels) != len(parts):
        problems.append(f"{len(labels):,} labels for {len(parts):,} images")
    if not np.isin(parts, list(PARTS.values())).all():
        problems.append(f"parts must be {TRAIN}, {VALIDATION} or {TEST}: {', '.join(PART_NAMES)}")
    if problems:
        raise problem(part.name, *problems)
    return replace(contents, labels=labels.astype(np.int64))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name)


def _fingerprint(contents: Contents, stored: NDArray[np.uint8] | list[Path], found: Images) -> str:
    """Return a text that changes with the images, and with what is said of them.

    Paths count as they were given, so that equal copies of a data root share a store.
    """
    digest = hashlib.sha256(json.dumps(contents.class_names).encode())
    for array in (contents.labels, contents.parts):
        digest.update(np.ascontiguousarray(array).data)
    if isinstance(stored, np.ndarray):
        digest.update(f"{stored.shape}".encode())
        digest.update(np.ascontiguousarray(stored).data)
    else:
        digest.update(files_fingerprint(stored).encode())
        digest.update(json.dumps([str(path) for path in found.images]).encode())
    return digest.hexdigest()
