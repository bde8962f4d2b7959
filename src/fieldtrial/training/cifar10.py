"""CIFAR-10 (Krizhevsky 2009), from its binary files or from the pickled ones that torchvision leaves."""

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.training.obtain import Archive
from fieldtrial.training.sources import TEST, TRAIN, Contents, Source, files_fingerprint, problem

SIDE = 32
BATCHES = {"data_batch_1": TRAIN, "data_batch_2": TRAIN, "data_batch_3": TRAIN, "data_batch_4": TRAIN}
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
    """Return CIFAR-10 from `root`/cifar-10-batches-bin or, where only that is, from torchvision's cifar-10-batches-py.

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
        raise problem("cifar10", f"no {', '.join(missing)}; remove {folder} to have it unpacked again")
    read, names = (_read_pickled, _pickled_names) if pickled else (_read_binary, _binary_names)
    return Source(
        dataset="cifar10",
        fingerprint=files_fingerprint(files),
        channels=3,
        image_size=SIDE,
        contents=functools.partial(_contents, paths, read, lambda: names(folder / meta)),
    )


def _contents(
    paths: dict[Path, int], read: Callable[[Path], Batch], class_names: Callable[[], tuple[str, ...]]
) -> Contents:
    batches = []
    for path in paths:
        try:
            batches.append(read(path))
            if batches[-1][1].max(initial=0) > 9 or len(batches[-1][0]) != len(batches[-1][1]):
                raise ValueError("labels that do not fit")
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
            raise problem(
                "cifar10", f"{path} is damaged ({error}); remove its folder to have it unpacked again"
            ) from None
    pixels = np.concatenate([planes for planes, _ in batches]).transpose(0, 2, 3, 1)
    return Contents(
        class_names=class_names(),
        labels=np.concatenate([labels for _, labels in batches]),
        parts=np.repeat(np.array(list(paths.values()), np.uint8), [len(labels) for _, labels in batches]),
        image=lambda index: Image.fromarray(np.ascontiguousarray(pixels[index])),
        where=lambda index: f"cifar10, image {index}",
    )


def _read_binary(path: Path) -> Batch:
    """Return a batch of records: a byte for the label, then the red, green and blue planes."""
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + 3 * SIDE**2)
    return records[:, 1:].reshape(-1, 3, SIDE, SIDE), records[:, 0].astype(np.int64)


def _binary_names(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text().split())


def _read_pickled(path: Path) -> Batch:
    """Return a batch of the Python version: a dictionary with data (n, 3072) and labels."""
    batch = _load(path)
    pixels = np.asarray(batch["data"], np.uint8)
    return pixels.reshape(-1, 3, SIDE, SIDE), np.asarray(batch["labels"], np.int64)


def _pickled_names(path: Path) -> tuple[str, ...]:
    return tuple(_load(path)["label_names"])


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return _ArraysOnly(file, encoding="latin1").load()


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of plain values and arrays; one that asks for anything else is refused, so it runs no code."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
