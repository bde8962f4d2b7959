"""CIFAR-10 (Krizhevsky 2009), from its binary files or from the pickled ones that torchvision
leaves.
"""

import functools
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.training.data.fetch.folder import Archive
from fieldtrial.training.data.source import (
    TEST,
    TRAIN,
    Contents,
    Source,
    files_fingerprint,
    problem,
)

T = TypeVar("T")

SIDE, CLASSES = 32, 10
BATCHES = {
    "data_batch_1": TRAIN,
    "data_batch_2": TRAIN,
    "data_batch_3": TRAIN,
    "data_batch_4": TRAIN,
}
BATCHES |= {"data_batch_5": TRAIN, "test_batch": TEST}
# The binary version, since to read it runs no code; the digest is that of the author's page.
BINARY = Archive(
    dataset="cifar10",
    folder="cifar-10-batches-bin",
    inside="cifar-10-batches-bin",
    names=("cifar-10-binary.tar.gz",),
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    digest="md5:c32a1d4ab5d03f1284b67883e8d87530",
)
PICKLED = Archive(
    dataset="cifar10",
    folder="cifar-10-batches-py",
    inside="cifar-10-batches-py",
    names=("cifar-10-python.tar.gz",),
)
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # pixels (n, 3, 32, 32), labels (n,)


def cifar10(root: Path) -> Source:
    """Return CIFAR-10 from `root`/cifar-10-batches-bin or, where only that is, from torchvision's
    cifar-10-batches-py.

    Raises:
        ConfigError: it cannot be had, or files are missing.
    """
    pickled = PICKLED.is_there(root) and not BINARY.is_there(root)
    folder = (PICKLED if pickled else BINARY).obtain(root)
    suffix, meta = ("", "batches.meta") if pickled else (".bin", "batches.meta.txt")
    paths = {folder / f"{name}{suffix}": part for name, part in BATCHES.items()}
    files = [*paths, folder / meta]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise problem(
            "cifar10", f"no {', '.join(missing)}; remove {folder} to have it unpacked again"
        )
    read, names = (_read_pickled, _pickled_names) if pickled else (_read_binary, _binary_names)
    return Source(
        dataset="cifar10",
        fingerprint=files_fingerprint(files),
        channels=3,
        image_size=SIDE,
        contents=functools.partial(_contents, paths, read, lambda: _checked(folder / meta, names)),
    )


def _contents(
    paths: dict[Path, int],
    read: Callable[[Path], Batch],
    class_names: Callable[[], tuple[str, ...]],
) -> Contents:
    batches = [_checked(path, read) for path in paths]
    pixels = np.concatenate([planes for planes, _ in batches]).transpose(0, 2, 3, 1)
    return Contents(
        class_names=class_names(),
        labels=np.concatenate([labels for _, labels in batches]),
        parts=np.repeat(
            np.array(list(paths.values()), np.uint8), [len(labels) for _, labels in batches]
        ),
        image=lambda index: Image.fromarray(np.ascontiguousarray(pixels[index])),
        where=lambda index: f"cifar10, image {index}",
    )


def _checked(path: Path, read: Callable[[Path], T]) -> T:
    """Return what `read` makes of the file. Raises ConfigError, with its path, where it
    is damaged.
    """
    try:
        return read(path)
    except OSError:
        raise
    except Exception as error:  # pickles raise nearly everything where they are damaged
        text = f"{path} is damaged ({error}); remove its folder to have it unpacked again"
        raise problem("cifar10", text) from None


def _batch(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Batch:
    """Return the batch, if its labels are as many as its images, and class numbers. Raises
    ValueError.
    """
    if len(pixels) != len(labels) or not np.isin(labels, range(CLASSES)).all():
        raise ValueError("labels that do not fit")
    return pixels.reshape(-1, 3, SIDE, SIDE), labels


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
    """What stands for an array while its pickle is read: its bytes alone, since numpy trusts the
    rest of its state.
    """

    content = b""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        content = state[-1]  # after version, shape, type and order; a text where Python 2 wrote it
        self.content = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(self.content, bytes):
            raise pickle.UnpicklingError("it has an array of something else than bytes")


class _PickledType(_PickledArray):
    """What stands for the type of an array's elements, here always bytes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        pass


class _BytesOnly(pickle.Unpickler):
    """Reads a pickle of plain values and arrays of bytes; one that asks for anything else is
    refused: no code runs.
    """

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
