"""Decoded images on disk: decoded once per machine and size, then shared as a memory map."""

import hashlib
import json
import logging
import math
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fieldtrial.disk.files import write_json
from fieldtrial.processes import home_folder
from fieldtrial.training.data.dataset import (
    PART_NAMES,
    TEST,
    TRAIN,
    VALIDATION,
    Contents,
    Dataset,
    problem,
    require_every_class,
)
from fieldtrial.training.data.pixels import as_shown
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.data.splits import Indices

FORMAT = 2  # raised when the same data set would be decoded to other pixels or other files
BLOCK = 32  # images that a thread decodes at once
FEW = 0.5  # of the images that differ: with less, a data set is not what it seems
NAMED_FILES = 20  # damaged files named in one message

Digests = NDArray[np.uint64]
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Store:
    """A decoded data set, named by the fingerprint of its files.

    Attributes:
        images: read-only memory map, uint8 (n, height, width, channels).
        labels: int64 (n,).
        parts: uint8 (n,), TRAIN, VALIDATION or TEST.
        mean, std: per channel, in [0, 1], over the TRAIN images.
        remarks: what was passed over and which images are equal: a line each.
    """

    name: str
    images: NDArray[np.uint8]
    labels: Indices
    parts: NDArray[np.uint8]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    remarks: tuple[str, ...]


def store_root() -> Path:
    """Return this machine's folder of decoded data sets and feature caches: $FIELDTRIAL_CACHE."""
    return Path(
        os.environ.get("FIELDTRIAL_CACHE") or home_folder() / ".cache/fieldtrial/stores"
    ).absolute()


def open_store(
    dataset: Dataset, image_size: int, root: Path, recipe: Recipe | None = None
) -> Store:
    """Return the store in `root` of squares of `image_size` pixels; it is built now if missing.

    A recipe says how images become squares. None: by the largest square in their centre.

    One process builds it, others that want it wait. It is built aside and renamed into place, so it
    is always whole. The next builder removes what a killed one left.

    Raises:
        ConfigError: images that cannot be decoded; the message names the files.
        OSError: no room, or no right to write.
    """
    # without the path, so that equal copies share a store
    name = re.sub(r"[^a-zA-Z0-9.-]", "_", Path(dataset.name).name)
    identity = f"{FORMAT} {name} {dataset.fingerprint} {image_size}" + (
        f" {recipe}" if recipe else ""
    )
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = root / f"{name}-{image_size}px-{key}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _build(dataset, image_size, folder, recipe)
    return _open(folder)


def _open(folder: Path) -> Store:
    facts = json.loads((folder / "facts.json").read_bytes())
    return Store(
        name=folder.name,
        # a plain array: numpy's memmap class does Python work at every indexing
        images=np.asarray(np.load(folder / "images.npy", mmap_mode="r")),
        labels=np.load(folder / "labels.npy"),
        parts=np.load(folder / "parts.npy"),
        class_names=tuple(facts["class_names"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        remarks=tuple(facts["remarks"]),
    )


def _build(dataset: Dataset, image_size: int, folder: Path, recipe: Recipe | None) -> None:
    """Decode the data set into `folder`; the caller holds the lock."""
    aside = folder.with_name(f"{folder.name}.building")
    shutil.rmtree(aside, ignore_errors=True)  # of a builder that was killed
    aside.mkdir()
    try:
        contents = dataset.contents()
        require_every_class(dataset.name, contents)
        log.info("decoding %d images to %s", len(contents.labels), folder)
        path = aside / "images.npy"
        mean, std, digests = _decode_all(dataset, contents, image_size, path, recipe)
        remarks = [*dataset.remarks, *equal_images(contents, digests)]
        np.save(aside / "labels.npy", contents.labels)
        np.save(aside / "parts.npy", contents.parts)
        facts = {"class_names": contents.class_names, "mean": mean, "std": std, "remarks": remarks}
        write_json(aside / "facts.json", facts)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _decode_all(
    dataset: Dataset, contents: Contents, image_size: int, path: Path, recipe: Recipe | None
) -> tuple[list[float], list[float], Digests]:
    """Write all images to `path`; return the training images' mean and deviation per channel.

    Also return a digest of each image's pixels, (n,).
    """
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
    digests = np.empty(count, np.uint64)

    def decode_block(start: int) -> list[str]:
        problems = []
        for index in range(start, min(start + BLOCK, count)):
            try:
                with contents.image(index) as image:
                    pixels = centre_square(image, image_size, channels, recipe)
            except Exception as error:  # decoders raise nearly everything on damaged files
                problems.append(f"{contents.where(index)} is not a readable image: {error}")
                continue
            images[index] = pixels
            digest = hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()
            digests[index] = int.from_bytes(digest, "little")
            means[index] = pixels.mean(axis=(0, 1))
            squares[index] = np.square(pixels, dtype=np.uint16).mean(axis=(0, 1))
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
        more = [f"and {len(problems) - NAMED_FILES} more"] if len(problems) > NAMED_FILES else []
        raise problem(dataset.name, *problems[:NAMED_FILES], *more)
    images.flush()
    train = contents.parts == TRAIN
    mean = means[train].mean(axis=0)
    variance = np.maximum(squares[train].mean(axis=0) - mean**2, 0)
    std = np.where(variance > 0, np.sqrt(variance), 255)  # a constant channel is not divided by 0
    return (mean / 255).tolist(), (std / 255).tolist(), digests


def equal_images(contents: Contents, digests: Digests) -> list[str]:
    """Return a line for each way in which images have the same pixels at the store's size."""
    lines, parts, labels = [], contents.parts, contents.labels
    different, group = np.unique(digests, return_inverse=True)
    if len(different) < FEW * len(digests):
        lines.append(f"only {len(different):,} of {len(digests):,} images differ from each other")
    in_train = np.zeros(len(different), bool)
    in_train[group[parts == TRAIN]] = True
    for part in (VALIDATION, TEST):
        own = parts == part
        if copies := int(in_train[group[own]].sum()):
            lines.append(
                f"{copies:,} of {int(own.sum()):,} {PART_NAMES[part]} images are among the training"
                " images too"
            )
    own = group[parts == TRAIN]
    if again := len(own) - len(np.unique(own)):
        lines.append(f"{again:,} of {len(own):,} training images are there more than once")
    lowest, highest = np.full(len(different), labels.max()), np.zeros(len(different), int)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    if torn := int((lowest < highest)[group].sum()):
        lines.append(f"{torn:,} images have the same pixels as one of another class")
    return lines


def require_decodable(image: Image.Image) -> None:
    """Raise ValueError if `image` has too many pixels, or pixels of more than 8 bits.

    Pillow's limit of pixels is meant against decompression bombs; Pillow itself only warns.
    """
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ValueError(
            f"{image.width} × {image.height} pixels; must be at most {most:,}, make it smaller"
            " first"
        )
    if image.mode[0] in "IF":
        raise ValueError(
            f"pixels of more than 8 bits (mode {image.mode}) would be cut off; convert the file"
            " first"
        )


def centre_square(
    image: Image.Image, side: int, channels: int, recipe: Recipe | None = None
) -> NDArray[np.uint8]:
    """Return the square of `image` that `recipe` says, as uint8 (side, side, channels).

    None: its largest centre square.
    """
    if recipe is None:
        # lets the JPEG decoder skip detail that resizing would drop; libraries do not
        image.draft(image.mode, (2 * side, 2 * side))
    require_decodable(image)
    shown = as_shown(image, channels)
    square = (
        recipe.apply(shown)
        if recipe
        else ImageOps.fit(shown, (side, side), Image.Resampling.BICUBIC)
    )
    return np.asarray(square).reshape(side, side, channels)
