"""MNIST (LeCun et al. 1998), from its four files; missing ones are downloaded."""

import contextlib
import functools
import gzip
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fieldtrial.disk.reading import open_file
from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Contents,
    Dataset,
    files_fingerprint,
    problem,
)
from fieldtrial.training.data.fetch.download import download

MOST_BYTES = 64 << 20  # of a file, unpacked; the largest has 47 million
FILES = {
    TRAIN: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    TEST: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def mnist(root: Path) -> Dataset:
    """Return MNIST from `root`/MNIST/raw, packed or unpacked. Raises ConfigError if unavailable."""
    folder = root / "MNIST" / "raw"
    if _missing(folder):
        _download(root, folder)
    files = {part: [_idx_file(folder, name) for name in names] for part, names in FILES.items()}
    return Dataset(
        name="mnist",
        fingerprint=files_fingerprint(path for pair in files.values() for path in pair),
        channels=1,
        image_size=28,
        contents=functools.partial(_contents, files),
    )


def _contents(files: dict[int, list[Path]]) -> Contents:
    arrays = []
    for part, (image_file, label_file) in files.items():
        pixels, labels = _read_idx(image_file, dimensions=3), _read_idx(label_file, dimensions=1)
        if len(pixels) != len(labels) or labels.max(initial=0) > 9:
            again = "remove both to download them again"
            raise problem("mnist", f"{label_file} does not fit {image_file}; {again}")
        arrays.append((part, pixels, labels.astype(np.int64)))
    return Contents.of_arrays("mnist", tuple("0123456789"), arrays)


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array in an idx file: 0, 0, type, dimensions, big-endian sizes, then the bytes."""
    try:
        with open_file(path) as file, contextlib.ExitStack() as stack:
            plain = stack.enter_context(gzip.open(file)) if path.suffix == ".gz" else file
            data = plain.read(MOST_BYTES)  # what is longer does not fit its head
        if data[:4] != bytes((0, 0, 8, dimensions)):
            raise ValueError("not in the idx format")
        shape = np.frombuffer(data, ">i4", dimensions, offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (ValueError, EOFError, OSError, zlib.error) as error:
        raise problem(
            "mnist", f"{path} is damaged ({error}); remove it to download it again"
        ) from None


def _idx_file(folder: Path, name: str) -> Path:
    """Return the path of an idx file: unpacked where it exists, else as it is downloaded."""
    return folder / name if (folder / name).exists() else folder / f"{name}.gz"


def _missing(folder: Path) -> list[str]:
    names = [name for pair in FILES.values() for name in pair]
    return [name for name in names if not _idx_file(folder, name).exists()]


def _download(root: Path, folder: Path) -> None:
    """Download the missing files into `folder`; one process does so, others wait."""
    from torchvision.datasets import MNIST

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".mnist.lock"):
            for name, md5 in MNIST.resources:
                if name.removesuffix(".gz") in _missing(folder):
                    download(
                        [mirror + name for mirror in MNIST.mirrors], folder / name, f"md5:{md5}"
                    )
    except OSError as error:
        raise problem(
            "mnist",
            f"no {', '.join(_missing(folder))} (or .gz) in {folder}, and the download failed"
            f" ({error}). Copy MNIST's four files there, or name the folder that holds MNIST/raw/"
            " in the environment variable FIELDTRIAL_DATA",
        ) from None
