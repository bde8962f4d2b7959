"""Training images with their own aspect, from which random crops are drawn."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.disk.files import write_json
from fieldtrial.disk.schemas import BY_CONTENT, Cut
from fieldtrial.fields.rules import CROPS
from fieldtrial.training.data.building import build_once
from fieldtrial.training.data.crops import (
    PADDING,
    Pixels,
    Resize,
    draw_window,
    mirrored,
    resampling,
)
from fieldtrial.training.data.dataset import TRAIN, Contents, Dataset, unreadable
from fieldtrial.training.data.image_store import listed
from fieldtrial.training.data.pixels import as_shown, require_decodable
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.data.splits import Indices

FORMAT = 1  # raised when the same images would be kept with other pixels
# The shorter side is kept at up to so many times the crop's side: 448 pixels for crops of 224, more
# than most of ImageNet's photographs have.
LARGER = 2
BLOCK = 256  # images that are in memory while they are decoded
PIECES = 16  # in which the threads take a batch


@dataclass(frozen=True, eq=False)
class Originals:
    """Training images as they are, but with a shorter side of at most LARGER × the crop's.

    Attributes:
        pixels: memory map, uint8 (bytes,): all images, one after another.
        starts: int64 (n,), where an image begins.
        sizes: int64 (n, 3), height, width, channels; zeros for images of the data set's own
            validation and test sets, unless they are trained on.
        side: of a crop, in pixels.
        recipe: how an image is resized before a shifted crop.
    """

    pixels: NDArray[np.uint8]
    starts: Indices
    sizes: NDArray[np.int64]
    side: int
    recipe: Recipe

    def image(self, index: int) -> Pixels:
        """Return an image, uint8 (height, width, channels)."""
        height, width, channels = self.sizes[index].tolist()
        start = int(self.starts[index])
        flat = np.asarray(self.pixels[start : start + height * width * channels])
        return flat.reshape(height, width, channels)

    def whole(self, index: int, size: tuple[int, int]) -> Image.Image | None:
        """Return an image if it is kept at its own width and height, which are `size`."""
        height, width, channels = self.sizes[index].tolist()
        if (width, height) != size:
            return None
        pixels = self.image(index)
        return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)

    def crops(self, indices: Indices, names: Sequence[str], seed: int) -> NDArray[np.uint8]:
        """Return a random crop of each image, uint8 (n, side, side, channels).

        The kind is the first of CROPS among `names`. Equal arguments give equal crops; the global
        random state stays, so that another thread may draw from it.

        Raises:
            ConfigError: $FIELDTRIAL_RESAMPLING has a value that there is not.
        """
        draw = DRAWS[next(name for name in names if name in CROPS)]
        generator, resize = torch.Generator().manual_seed(seed), resampling()
        chosen = indices.tolist()
        cuts = [draw(self, index, generator, resize) for index in chosen]  # in order: they draw
        channels = int(self.sizes[chosen[0], 2])
        found = np.empty((len(chosen), self.side, self.side, channels), np.uint8)

        def cut(places: range) -> None:
            for place in places:
                found[place] = cuts[place]()

        pieces = [range(start, len(cuts), PIECES) for start in range(PIECES)]
        for _ in _pool().map(cut, pieces):
            pass  # raises what a thread has raised
        return found

    def _resized_crop(
        self, index: int, generator: torch.Generator, resize: Resize
    ) -> Callable[[], Pixels]:
        rows, columns, _ = self.sizes[index].tolist()
        top, left, height, width = draw_window(rows, columns, generator)

        def cut() -> Pixels:
            window = self.image(index)[top : top + height, left : left + width]
            return resize(window, self.side, self.side, "bilinear")

        return cut

    def _shifted_crop(
        self, index: int, generator: torch.Generator, resize: Resize
    ) -> Callable[[], Pixels]:
        rows, columns, _ = self.sizes[index].tolist()
        sides, padding = self.recipe.sides_of(columns, rows)[::-1], max(1, self.side // PADDING)
        # reflection has side - 1 pixels to give
        around = [min(padding, length - 1) for length in sides]
        starts = [
            int(share * (length + 2 * more - self.side + 1)) - more
            for share, length, more in zip(
                torch.rand(2, generator=generator).tolist(), sides, around, strict=True
            )
        ]

        def cut() -> Pixels:
            resized = resize(self.image(index), *sides, self.recipe.interpolation)
            down, right = (
                mirrored(torch.arange(start, start + self.side), length).numpy()
                for start, length in zip(starts, sides, strict=True)
            )
            found: Pixels = resized[down][:, right]
            return found

        return cut


DRAWS: dict[str, Callable[[Originals, int, torch.Generator, Resize], Callable[[], Pixels]]] = {
    # 8 to 100 % of the area, sides 3:4 to 4:3, resized (Szegedy et al. 2014; torchvision's values)
    "random_resized_crop": Originals._resized_crop,
    # a square of the resized image, up to an eighth of its side beyond the border, which is filled
    # by reflection (He et al. 2015: 4 of 32 pixels)
    "crop": Originals._shifted_crop,
}


def without_crop(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names` without the first crop, which `Originals.crops` has drawn."""
    first = next(name for name in names if name in CROPS)
    return tuple(name for name in names if name != first)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0))))


def open_originals(
    dataset: Dataset,
    image_size: int,
    recipe: Recipe | None,
    root: Path,
    cut: Cut = BY_CONTENT,
    is_whole: bool = False,
) -> Originals | None:
    """Return the training images for crops of `image_size` pixels, in `root`; built if missing.

    None if all images are squares of that size, and the recipe takes them whole: nothing of them is
    outside of their store's.

    cut: how a test set is split off where there is none; it has no images here yet.
    is_whole: whether images of all parts are trained on, as with folds.

    Raises:
        ConfigError: images that cannot be decoded; the message names the files.
        OSError: no room, or no right to write.
    """
    name = re.sub(r"[^a-zA-Z0-9.-]", "_", Path(dataset.name).name)
    keeps_all = recipe is None or recipe.resized == image_size
    identity = f"originals {FORMAT} {name} {dataset.fingerprint} {image_size} {keeps_all}"
    identity += " whole" if is_whole else ""
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = root / f"{name}-{image_size}px-originals-{key}"
    build_once(folder, lambda aside: _build(dataset, image_size, aside, keeps_all, cut, is_whole))
    if json.loads((folder / "facts.json").read_bytes())["are_squares"]:
        return None
    return Originals(
        pixels=np.memmap(folder / "pixels.bin", np.uint8, "r"),
        starts=np.load(folder / "starts.npy"),
        sizes=np.load(folder / "sizes.npy"),
        side=image_size,
        recipe=recipe or Recipe("shorter side", image_size, "bicubic", image_size),
    )


def _build(
    dataset: Dataset, image_size: int, folder: Path, keeps_all: bool, cut: Cut, is_whole: bool
) -> None:
    """Decode the training images into the empty `folder`, or all images if it `is_whole`.

    keeps_all: whether the store of squares has the whole of an image that is such a square.
    """
    contents = listed(dataset, cut)
    chosen = np.flatnonzero((contents.parts == TRAIN) | is_whole)
    are_squares = keeps_all and all(
        _size(contents, index) == (image_size,) * 2 for index in chosen.tolist()
    )
    if not are_squares:
        sizes = np.zeros((len(contents.labels), 3), np.int64)
        with (folder / "pixels.bin").open("wb") as file:  # a full disk is an OSError here
            for index, pixels in _decode(dataset, contents, chosen, LARGER * image_size):
                sizes[index] = pixels.shape
                file.write(np.ascontiguousarray(pixels).data)
        ends = np.cumsum(sizes.prod(axis=1))
        np.save(folder / "starts.npy", ends - sizes.prod(axis=1))
        np.save(folder / "sizes.npy", sizes)
    write_json(folder / "facts.json", {"are_squares": are_squares})


def _size(contents: Contents, index: int) -> tuple[int, int] | None:
    """Return an image's width and height from its first bytes, or None if they say nothing."""
    try:
        with contents.image(index) as image:
            return image.size
    except Exception:  # decoders raise nearly everything on damaged files; decoding says what
        return None


def _decode(
    dataset: Dataset, contents: Contents, chosen: Indices, most: int
) -> Iterator[tuple[int, Pixels]]:
    """Yield the chosen images with their numbers: uint8 (height, width, channels), in order.

    Raises:
        ConfigError: in the end, if images could not be decoded.
    """
    problems = []

    def decode(index: int) -> Pixels | None:
        try:
            with contents.image(index) as image:
                # lets the JPEG decoder skip detail that resizing would drop
                image.draft(image.mode, (2 * most, 2 * most))
                require_decodable(image)
                shown = as_shown(image, dataset.channels)
        except Exception as error:  # decoders raise nearly everything on damaged files
            problems.append(f"{contents.where(index)} is not a readable image: {error}")
            return None
        if (shorter := min(shown.size)) > most:
            width, height = (round(length * most / shorter) for length in shown.size)
            shown = shown.resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(shown)
        return pixels.reshape(*pixels.shape[:2], dataset.channels)

    label = f"decoding {Path(dataset.name).name} for crops"
    with progress(label, 0, len(chosen), "images") as advance:
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK].tolist()
            for index, pixels in zip(block, _pool().map(decode, block), strict=True):
                if pixels is not None:
                    yield index, pixels
            advance(BLOCK)
    if problems:
        raise unreadable(dataset.name, problems)
