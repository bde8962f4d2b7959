"""MNIST (LeCun et al. 1998), from its four files, which are downloaded where they are missing."""

import functools
import gzip
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.training.data.fetch.download import download
from fieldtrial.training.data.source import (
    TEST,
    TRAIN,
    Contents,
    Source,
    files_fingerprint,
    problem,
)

FILES = {
    TRAIN: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    TEST: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def mnist(root: Path) -> Source:
    """Return MNIST from `root`/MNIST/raw, packed or unpacked. Raises ConfigError if it cannot be
    had.
    """
    folder = root / "MNIST" / "raw"
    if _mnist_missing(folder):
        _download_mnist(root, folder)
    files = {
        part: tuple(_idx_file(folder, name) for name in names) for part, names in FILES.items()
    }
    return Source(
        dataset="mnist",
        fingerprint=files_fingerprint(path for pair in files.values() for path in pair),
        channels=1,
        image_size=28,
        contents=functools.partial(_mnist_contents, files),
    )


def _mnist_contents(files: dict[int, tuple[Path, ...]]) -> Contents:
    pixels, labels, parts = [], [], []
    for part, (image_file, label_file) in files.items():
        pixels.append(_read_idx(image_file, dimensions=3))
        labels.append(_read_idx(label_file, dimensions=1))
        if len(pixels[-1]) != len(labels[-1]) or labels[-1].max(initial=0) > 9:
            raise problem(
                "mnist",
                f"{label_file} does not fit {image_file}; remove both to download them again",
            )
        parts.append(np.full(len(labels[-1]), part, np.uint8))
    all_pixels = np.concatenate(pixels)
    return Contents(
        class_names=tuple("0123456789"),
        labels=np.concatenate(labels).astype(np.int64),
        parts=np.concatenate(parts),
        image=lambda index: Image.fromarray(all_pixels[index]),
        where=lambda index: f"mnist, image {index}",
    )


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in a file of MNIST's own format: 0, 0, type, dimensions, then big-endian
    sizes, then bytes.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if data[:4] != bytes((0, 0, 8, dimensions)):
            raise ValueError("not in the idx format")
        shape = np.frombuffer(data, ">i4", dimensions, offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise problem(
            "mnist", f"{path} is damaged ({error}); remove it to download it again"
        ) from None


def _idx_file(folder: Path, name: str) -> Path:
    """Return the path of an idx file as it was unpacked or, where that is not there, as it was
    downloaded.
    """
    return folder / name if (folder / name).exists() else folder / f"{name}.gz"


def _mnist_missing(folder: Path) -> list[str]:
    names = [name for pair in FILES.values() for name in pair]
    return [name for name in names if not _idx_file(folder, name).exists()]


def _download_mnist(root: Path, folder: Path) -> None:
    """Fetch what is missing into `folder`, whole files only, and once where several processes want
    it.
    """
    from torchvision.datasets import MNIST

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".mnist.lock"):
            for name, md5 in MNIST.resources:
                if name.removesuffix(".gz") in _mnist_missing(folder):
                    download(
                        [mirror + name for mirror in MNIST.mirrors], folder / name, f"md5:{md5}"
                    )
    except OSError as error:
        raise problem(
            "mnist",
            f"no {', '.join(_mnist_missing(folder))} (or .gz) in {folder}, and the download failed"
            f" ({error}). Copy MNIST's four files there, or name the folder that holds MNIST/raw/"
            " in the environment variable FIELDTRIAL_DATA",
        ) from None
