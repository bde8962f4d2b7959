"""Decoded images on disk: decoded once per machine and size, then shared as a memory map."""

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fieldtrial.disk.files import write_json
from fieldtrial.disk.schemas import BY_CONTENT, BY_POSITION, Cut
from fieldtrial.processes import home_folder
from fieldtrial.training.data.building import build_once
from fieldtrial.training.data.content import Keys, key_of, numbers
from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Contents,
    Dataset,
    problem,
    require_every_class,
    unreadable,
)
from fieldtrial.training.data.pixels import as_shown, moments, require_decodable, upright_size
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.recipe import AnyRecipe
from fieldtrial.training.data.splits import Indices, cut_by_numbers

FORMAT = 4  # raised when the same data set would be decoded to other pixels or other files
BLOCK = 32  # images that a thread decodes at once
STRATA = "strata.npy"  # of data that are not cut by classes

# From an image's number, width and height to it as a viewer shows it, if it was decoded before.
Decoded = Callable[[int, tuple[int, int]], Image.Image | None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Store:
    """A decoded data set, named by the fingerprint of its files.

    Attributes:
        images: read-only memory map, uint8 (n, height, width, channels).
        labels: int64 (n,). strata: as those of Contents.
        parts: uint8 (n,), TRAIN, VALIDATION or TEST.
        keys: uint64 (n,), of what each image's file contains; equal at every size.
        pixels: uint64 (n,), of what it looks like in `images`.
        digest: of classes, labels, parts and keys: equal for equal data, whatever its size here.
        are_files: whether the images are files of their own, which may come and go.
        mean, std: per channel, in [0, 1], over the TRAIN images.
        remarks: what was passed over, and which folder was taken for what: a line each.
    """

    name: str
    images: NDArray[np.uint8]
    labels: Indices
    parts: NDArray[np.uint8]
    keys: Keys
    pixels: Keys
    digest: str
    are_files: bool
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    remarks: tuple[str, ...]
    strata: Indices | None = None


def store_root() -> Path:
    """Return this machine's folder of decoded data sets and feature caches: $FIELDTRIAL_CACHE."""
    return Path(
        os.environ.get("FIELDTRIAL_CACHE") or home_folder() / ".cache/fieldtrial/stores"
    ).absolute()


def open_store(
    dataset: Dataset,
    image_size: int,
    root: Path,
    cut: Cut = BY_CONTENT,
    recipe: AnyRecipe | None = None,
    decoded: Decoded | None = None,
) -> Store:
    """Return the store in `root` of squares of `image_size` pixels; it is built now if missing.

    cut: how a test set is split off where there is none; see `with_test_images`.
    recipe: how images become squares; None: by the largest square in their centre.
    decoded: returns an image as a viewer shows it, from its number and its size, where it has been
        decoded before; else None.

    Raises:
        ConfigError: images that cannot be decoded; the message names the files.
        OSError: no room, or no right to write.
    """
    # without the path, so that equal copies share a store
    name = re.sub(r"[^a-zA-Z0-9.-]", "_", Path(dataset.name).name)
    identity = f"{FORMAT} {name} {dataset.fingerprint} {image_size}"
    identity += f" {recipe}" if recipe else ""
    if dataset.test_fraction is not None:  # else there is nothing to cut
        identity += f" {cut}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = root / f"{name}-{image_size}px-{key}"
    build_once(folder, lambda aside: _build(dataset, image_size, aside, cut, recipe, decoded))
    return read_store(folder)


def with_test_images(dataset: Dataset, contents: Contents, cut: Cut, keys: Keys | None) -> Contents:
    """Return the contents with the test set that is still to be split off, if any.

    keys: of the images, which are needed to cut by content.

    Raises:
        ConfigError: a class has too few images; the message names it. That depends on the numbers
            of images alone.
    """
    if (fraction := dataset.test_fraction) is None or TEST in contents.parts:
        return contents
    try:
        if cut == BY_POSITION or keys is None:
            return contents.with_test_split(fraction)
        own = numbers(keys, "test")
        chosen = cut_by_numbers(*contents.classes_to_cut(fraction), fraction, own)[1]
    except ValueError as error:
        raise problem(dataset.name, f"has no test set of its own, and {error}") from None
    parts = contents.parts.copy()
    parts[chosen] = TEST
    return replace(contents, parts=parts)


def read_store(folder: Path) -> Store:
    """Return the store in `folder`. Raises OSError where there is none."""
    facts, strata = json.loads((folder / "facts.json").read_bytes()), folder / STRATA
    return Store(
        name=folder.name,
        # a plain array: numpy's memmap class does Python work at every indexing
        images=np.asarray(np.load(folder / "images.npy", mmap_mode="r")),
        labels=np.load(folder / "labels.npy"),
        parts=np.load(folder / "parts.npy"),
        keys=np.load(folder / "keys.npy"),
        pixels=np.load(folder / "pixels.npy"),
        digest=facts["digest"],
        are_files=facts["are_files"],
        class_names=tuple(facts["class_names"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        remarks=tuple(facts["remarks"]),
        strata=np.load(strata) if strata.exists() else None,
    )


def read_places(folder: Path) -> list[str]:
    """Return where each image of the store in `folder` was; empty for those of no file."""
    return list(json.loads((folder / "places.json").read_bytes()))


def listed(dataset: Dataset, cut: Cut) -> Contents:
    """Return the images of a data set before any is decoded.

    Raises:
        ConfigError: a class has too few of them; the message names it.
    """
    contents = dataset.contents()
    any_keys = np.arange(len(contents.labels), dtype=np.uint64)  # before the true ones are known
    require_every_class(dataset.name, with_test_images(dataset, contents, cut, any_keys))
    return contents


def _build(
    dataset: Dataset,
    image_size: int,
    folder: Path,
    cut: Cut,
    recipe: AnyRecipe | None,
    decoded: Decoded | None,
) -> None:
    """Decode the data set into the empty `folder`."""
    contents = listed(dataset, cut)
    log.info("decoding %d images to %s", len(contents.labels), folder)
    known = _decode_all(dataset, contents, image_size, folder / "images.npy", recipe, decoded)
    contents = with_test_images(dataset, contents, cut, known.keys)
    mean, std = known.normalisation(contents.parts == TRAIN)
    np.save(folder / "labels.npy", contents.labels)
    np.save(folder / "parts.npy", contents.parts)
    if contents.strata is not None:
        np.save(folder / STRATA, contents.strata)
    np.save(folder / "keys.npy", known.keys)
    np.save(folder / "pixels.npy", known.pixels)
    count = len(contents.labels) if contents.are_files else 0
    write_json(folder / "places.json", list(map(contents.where, range(count))))
    labels = contents.annotations
    more = labels.write(folder, known.sizes, recipe) if labels else b""
    facts = {
        "class_names": contents.class_names,
        "mean": mean,
        "std": std,
        "remarks": (*contents.remarks, *dataset.remarks),
        "digest": _digest(contents, known.keys, more),
        "are_files": contents.are_files,
    }
    write_json(folder / "facts.json", facts)


def _digest(contents: Contents, keys: Keys, more: bytes) -> str:
    """Return 32 hexadecimal digits of the classes and of each image's class, part and content.

    more: what else the images are labelled with.
    """
    digest = hashlib.blake2b(json.dumps(contents.class_names).encode(), digest_size=16)
    for array in (contents.labels, contents.parts, keys):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(more)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of each image once it is decoded.

    Attributes:
        keys, pixels: as in Store.
        means, squares: of its pixels and of their squares, (n, channels).
        sizes: its width and height in pixels, upright, int64 (n, 2).
    """

    keys: Keys
    pixels: Keys
    means: NDArray[np.float64]
    squares: NDArray[np.float64]
    sizes: Indices

    def normalisation(self, train: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
        """Return mean and deviation per channel, in [0, 1], of the images where `train` is True."""
        mean = self.means[train].mean(axis=0)
        variance = np.maximum(self.squares[train].mean(axis=0) - mean**2, 0)
        # a constant channel is not divided by 0
        std = np.where(variance > 0, np.sqrt(variance), 255)
        return (mean / 255).tolist(), (std / 255).tolist()


def _decode_all(
    dataset: Dataset,
    contents: Contents,
    image_size: int,
    path: Path,
    recipe: AnyRecipe | None,
    decoded: Decoded | None,
) -> _Known:
    """Write all images to `path`, and return what is known of them."""
    count, channels = len(contents.labels), dataset.channels
    shape = (count, image_size, image_size, channels)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        try:  # reserve the room: a disk that fills up later would kill the process with SIGBUS
            os.posix_fallocate(file.fileno(), 0, file.tell() + math.prod(shape))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    images = np.load(path, mmap_mode="r+")
    means, squares = np.empty((count, channels)), np.empty((count, channels))
    keys, looks = np.empty(count, np.uint64), np.empty(count, np.uint64)
    sizes, labels = np.empty((count, 2), np.int64), contents.annotations

    def decode_block(start: int) -> list[str]:
        problems = []
        for index in range(start, min(start + BLOCK, count)):
            try:
                content, image = contents.read(index)
                with image:
                    sizes[index] = size = upright_size(image)
                    there = decoded(index, size) if decoded else None
                    pixels = centre_square(image, image_size, channels, recipe, there)
                keys[index] = key_of(content)
            except Exception as error:  # decoders raise nearly everything on damaged files
                problems.append(f"{contents.where(index)} is not a readable image: {error}")
                continue
            if labels and (why := labels.misfit(index, size)):
                problems.append(f"{contents.where(index)}: {why}")
            images[index] = pixels
            looks[index] = key_of(pixels.tobytes())
            means[index], squares[index] = moments(pixels)
        return problems

    label, problems = f"decoding {Path(dataset.name).name}", []
    with (
        ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool,
        progress(label, 0, count, "images") as advance,
    ):
        for found in pool.map(decode_block, range(0, count, BLOCK)):
            problems += found
            advance(BLOCK)
    if problems:
        raise unreadable(dataset.name, problems)
    images.flush()
    return _Known(keys, looks, means, squares, sizes)


def centre_square(
    image: Image.Image,
    side: int,
    channels: int,
    recipe: AnyRecipe | None = None,
    decoded: Image.Image | None = None,
) -> NDArray[np.uint8]:
    """Return the square of `image` that `recipe` says, as uint8 (side, side, channels).

    recipe: None: its largest centre square.
    decoded: the whole image as a viewer shows it, where it has been decoded before.
    """
    whole = image.size
    if recipe is None:
        # lets the JPEG decoder skip detail that resizing would drop; libraries do not
        image.draft(image.mode, (2 * side, 2 * side))
    require_decodable(image)
    shown = decoded if decoded and image.size == whole else as_shown(image, channels)
    square = (
        recipe.apply(shown)
        if recipe
        else ImageOps.fit(shown, (side, side), Image.Resampling.BICUBIC)
    )
    return np.asarray(square).reshape(side, side, channels)
