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
from fieldtrial.fields.rules import CROPS
from fieldtrial.training.data.building import build_once
from fieldtrial.training.data.dataset import TRAIN, Contents, Dataset, problem
from fieldtrial.training.data.image_store import require_decodable
from fieldtrial.training.data.pixels import as_shown
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.data.splits import Indices

FORMAT = 1  # raised when the same images would be kept with other pixels
# The shorter side is kept at up to so many times the crop's side: 448 pixels for crops of 224, more
# than most of ImageNet's photographs have.
LARGER = 2
BLOCK = 256  # images that are in memory while they are decoded
PADDING = 8  # a crop shifts by up to the side over this beyond the image's border
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random-resized crop (Szegedy et al. 2014)


@dataclass(frozen=True, eq=False)
class Originals:
    """Training images as they are, but with a shorter side of at most LARGER × the crop's.

    Attributes:
        pixels: memory map, uint8 (bytes,): all images, one after another.
        starts: int64 (n,), where an image begins.
        sizes: int64 (n, 3), height, width, channels; zeros for images of the data set's own
            validation and test sets.
        side: of a crop, in pixels.
        recipe: how an image is resized before a shifted crop.
    """

    pixels: NDArray[np.uint8]
    starts: Indices
    sizes: NDArray[np.int64]
    side: int
    recipe: Recipe

    def image(self, index: int) -> Image.Image:
        """Return an image."""
        height, width, channels = self.sizes[index].tolist()
        start = int(self.starts[index])
        flat = self.pixels[start : start + height * width * channels]
        shape = (height, width) if channels == 1 else (height, width, channels)
        return Image.fromarray(np.asarray(flat).reshape(shape))

    def crops(self, indices: Indices, names: Sequence[str], seed: int) -> NDArray[np.uint8]:
        """Return a random crop of each image, uint8 (n, side, side, channels).

        The kind is the first of CROPS among `names`. Equal arguments give equal crops; the global
        random state stays.
        """
        draw = DRAWS[next(name for name in names if name in CROPS)]
        images = [self.image(index) for index in indices.tolist()]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            cuts = [draw(self, image) for image in images]  # in order, for they draw numbers
        squares = _pool().map(lambda cut: np.asarray(cut()), cuts)
        shape = (len(images), self.side, self.side, -1)
        return np.stack(list(squares)).reshape(shape)

    def _resized_crop(self, image: Image.Image) -> Callable[[], Image.Image]:
        from torchvision.transforms import InterpolationMode, RandomResizedCrop, functional

        box = RandomResizedCrop.get_params(image, list(AREA), list(ASPECT))
        size = [self.side, self.side]
        return lambda: functional.resized_crop(image, *box, size, InterpolationMode.BILINEAR)

    def _shifted_crop(self, image: Image.Image) -> Callable[[], Image.Image]:
        from torchvision.transforms import functional

        resized, padding = self.recipe.resize(image), max(1, self.side // PADDING)
        # reflection has side - 1 pixels to give
        around = [min(padding, length - 1) for length in resized.size]
        down, right = torch.rand(2).tolist()
        left, top = (
            int(share * (length + 2 * more - self.side + 1))
            for share, length, more in zip((right, down), resized.size, around, strict=True)
        )

        def cut() -> Image.Image:
            padded = functional.pad(resized, around, padding_mode="reflect")
            square: Image.Image = functional.crop(padded, top, left, self.side, self.side)
            return square

        return cut


DRAWS: dict[str, Callable[[Originals, Image.Image], Callable[[], Image.Image]]] = {
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
    dataset: Dataset, image_size: int, recipe: Recipe | None, root: Path
) -> Originals | None:
    """Return the training images for crops of `image_size` pixels, in `root`; built if missing.

    None if all images are squares of that size, and the recipe takes them whole: nothing of them is
    outside of their store's.

    Raises:
        ConfigError: images that cannot be decoded; the message names the files.
        OSError: no room, or no right to write.
    """
    name = re.sub(r"[^a-zA-Z0-9.-]", "_", Path(dataset.name).name)
    keeps_all = recipe is None or recipe.resized == image_size
    identity = f"originals {FORMAT} {name} {dataset.fingerprint} {image_size} {keeps_all}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    folder = root / f"{name}-{image_size}px-originals-{key}"
    build_once(folder, lambda aside: _build(dataset, image_size, aside, keeps_all))
    if json.loads((folder / "facts.json").read_bytes())["are_squares"]:
        return None
    return Originals(
        pixels=np.memmap(folder / "pixels.bin", np.uint8, "r"),
        starts=np.load(folder / "starts.npy"),
        sizes=np.load(folder / "sizes.npy"),
        side=image_size,
        recipe=recipe or Recipe("shorter side", image_size, "bicubic", image_size),
    )


def _build(dataset: Dataset, image_size: int, folder: Path, keeps_all: bool) -> None:
    """Decode the training images into the empty `folder`.

    keeps_all: whether the store of squares has the whole of an image that is such a square.
    """
    contents = dataset.contents()
    chosen = np.flatnonzero(contents.parts == TRAIN)
    are_squares = keeps_all and all(
        _size(contents, index) == (image_size,) * 2 for index in chosen.tolist()
    )
    if not are_squares:
        sizes = np.zeros((len(contents.labels), 3), np.int64)
        with (folder / "pixels.bin").open("wb") as file:  # a full disk is an OSError here
            for index, pixels in _decode(dataset, contents, chosen, LARGER * image_size):
                sizes[index] = pixels.shape
                file.write(pixels.tobytes())
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
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the chosen images with their numbers: uint8 (height, width, channels), in order."""

    def decode(index: int) -> NDArray[np.uint8]:
        try:
            with contents.image(index) as image:
                # lets the JPEG decoder skip detail that resizing would drop
                image.draft(image.mode, (2 * most, 2 * most))
                require_decodable(image)
                shown = as_shown(image, dataset.channels)
        except Exception as error:  # decoders raise nearly everything on damaged files
            where = contents.where(index)
            raise problem(dataset.name, f"{where} is not a readable image: {error}") from None
        if (shorter := min(shown.size)) > most:
            width, height = (round(length * most / shorter) for length in shown.size)
            shown = shown.resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(shown)
        return pixels.reshape(*pixels.shape[:2], dataset.channels)

    label = f"decoding {Path(dataset.name).name} for crops"
    with progress(label, 0, len(chosen), "images") as advance:
        for start in range(0, len(chosen), BLOCK):
            block = chosen[start : start + BLOCK].tolist()
            yield from zip(block, _pool().map(decode, block), strict=True)
            advance(BLOCK)
