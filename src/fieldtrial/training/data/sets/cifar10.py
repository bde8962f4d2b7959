"""CIFAR-10 (Krizhevsky 2009), from its binary files or from torchvision's pickled ones."""

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Contents,
    Dataset,
    files_fingerprint,
    problem,
)
from fieldtrial.training.data.fetch.archive import Archive

T = TypeVar("T")

SIDE, CLASSES = 32, 10
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
PARTS = (*[TRAIN] * 5, TEST)
# The binary version is read without running code; the digest is that of the author's page.
BINARY = Archive(
    dataset="cifar10",
    folder="cifar-10-batches-bin",
    inside="cifar-10-batches-bin",
    names=("cifar-10-binary.tar.gz",),
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    digest="md5:c32a1d4ab5d03f1284b67883e8d87530",
    required=(*(f"{name}.bin" for name in BATCHES), "batches.meta.txt"),
)
PICKLED = Archive(
    dataset="cifar10",
    folder="cifar-10-batches-py",
    inside="cifar-10-batches-py",
    names=("cifar-10-python.tar.gz",),
    required=(*BATCHES, "batches.meta"),
)
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # pixels (n, 32, 32, 3), labels (n,)


def cifar10(root: Path) -> Dataset:
    """Return CIFAR-10 from `root`/cifar-10-batches-bin, or from torchvision's cifar-10-batches-py.

    Raises:
        ConfigError: it cannot be had, or files are missing.
    """
    pickled = PICKLED.is_there(root) and not BINARY.is_there(root)
    archive = PICKLED if pickled else BINARY
    folder = archive.obtain(root)
    read, read_names = (_read_pickled, _pickled_names) if pickled else (_read_binary, _binary_names)
    *batches, meta = (folder / name for name in archive.required)

    def contents() -> Contents:
        arrays = [(part, *_checked(path, read)) for path, part in zip(batches, PARTS, strict=True)]
        return Contents.of_arrays("cifar10", _checked(meta, read_names), arrays)

    return Dataset(
        name="cifar10",
        fingerprint=files_fingerprint([*batches, meta]),
        channels=3,
        image_size=SIDE,
        contents=contents,
    )


def _checked(path: Path, read: Callable[[Path], T]) -> T:
    """Return `read(path)`. Raises ConfigError with the path if the file is damaged."""
    try:
        return read(path)
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise nearly everything
        text = f"{path} is damaged ({error}); remove its folder to have it unpacked again"
        raise problem("cifar10", text) from None


def _batch(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Batch:
    """Return the batch of planes (n, 3072). Raises ValueError if the labels do not fit."""
    if len(pixels) != len(labels) or not np.isin(labels, range(CLASSES)).all():
        raise ValueError("labels that do not fit")
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def _names(names: Iterable[Any]) -> tuple[str, ...]:
    if len(found := tuple(map(str, names))) != CLASSES:
        raise ValueError(f"{len(found)} names of {CLASSES} classes")
    return found


def _read_binary(path: Path) -> Batch:
    """Return a batch of records: a byte for the label, then the red, green and blue planes."""
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + 3 * SIDE**2)
    return _batch(records[:, 1:], records[:, 0].astype(np.int64))


def _binary_names(path: Path) -> tuple[str, ...]:
    return _names(path.read_text().split())


def _read_pickled(path: Path) -> Batch:
    """Return a batch of the Python version: a dictionary with data (n, 3072) and labels."""
    batch = _load(path)
    pixels = np.frombuffer(batch["data"].content, np.uint8).reshape(-1, 3 * SIDE**2)
    return _batch(pixels, np.asarray(batch["labels"], np.int64))


def _pickled_names(path: Path) -> tuple[str, ...]:
    return _names(_load(path)["label_names"])


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return _BytesOnly(file, encoding="latin1").load()


class _PickledArray:
    """Stands for an array while its pickle is read: its bytes alone; numpy trusts the rest."""

    content = b""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        content = state[-1]  # after version, shape, type and order; a text if Python 2 wrote it
        self.content = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(self.content, bytes):
            raise pickle.UnpicklingError("it has an array of other things than bytes")


class _PickledType(_PickledArray):
    """Stands for the type of an array's elements, here always bytes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        pass


class _BytesOnly(pickle.Unpickler):
    """Reads a pickle of plain values and byte arrays, and refuses all others: no code runs."""

    ALLOWED: ClassVar[dict[tuple[str, str], type]] = {
        ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
        ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
        ("numpy", "ndarray"): _PickledArray,
        ("numpy", "dtype"): _PickledType,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return self.ALLOWED[module, name]
