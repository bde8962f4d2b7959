"""Images to train on where nothing can be downloaded: JPEG files, and CIFAR-10's files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 90  # of JPEG files
CLASSES = 4


def photographs(folder: Path, count: int, side: int, classes: int = CLASSES) -> str:
    """Write `count` JPEG files of side × 4/3 side pixels into class folders; return the data set.

    Each is a random coarse picture, enlarged, with noise: as long to decode as a photograph.
    """

    def write(number: int) -> None:
        draw = np.random.default_rng([1, number])
        label = number % classes
        coarse = np.random.default_rng([2, label]).integers(0, 256, (6, 8, 3))
        coarse = (coarse + draw.integers(0, 256, (6, 8, 3))) // 2
        size = (side * 4 // 3, side)
        picture = Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        noise = draw.integers(-16, 17, (side, size[0], 1))
        pixels = np.clip(np.asarray(picture).astype(np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"c{label}" / f"{number}.jpg", quality=QUALITY)

    if not folder.exists():
        for label in range(classes):
            (folder / f"c{label}").mkdir(parents=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(write, range(count)))
    return f"folder:{folder}"


def cifar_shaped(root: Path, images_per_file: int) -> str:
    """Write files as CIFAR-10's, with made images, below `root`; return the data set.

    An image is one of four coarse pictures of its class, moved by up to four pixels, with noise.
    """
    folder = root / "cifar-10-batches-bin"
    if folder.exists():
        return "cifar10"
    folder.mkdir(parents=True)
    coarse = np.random.default_rng(3).integers(0, 256, (10, 4, 10, 10, 3))
    pictures = np.kron(coarse, np.ones((1, 1, 4, 4, 1), np.int64))  # 40 × 40 pixels
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for place, name in enumerate(names):
        draw = np.random.default_rng([4, place])
        labels = np.arange(images_per_file, dtype=np.uint8) % 10
        planes = np.stack([_moved(pictures[label], draw) for label in labels])
        records = np.concatenate([labels[:, None], planes.reshape(len(labels), -1)], axis=1)
        records.astype(np.uint8).tofile(folder / f"{name}.bin")
    (folder / "batches.meta.txt").write_text("\n".join(f"class{label}" for label in range(10)))
    return "cifar10"


def _moved(pictures: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image of a class, (3, 32, 32)."""
    number, top, left = draw.integers(0, (4, 9, 9))
    image = pictures[number, top : top + 32, left : left + 32]
    noisy = np.clip(image + draw.normal(0, 40, image.shape), 0, 255).astype(np.uint8)
    planes: NDArray[np.uint8] = noisy.transpose(2, 0, 1)
    return planes
