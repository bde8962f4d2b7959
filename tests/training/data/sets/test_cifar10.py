"""cifar10 from small archives in the real layouts; no pickle runs code."""

import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from fieldtrial.config import ConfigError
from fieldtrial.training.data.load import Data
from tests.training.photos import cut, sizes, write_tar

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar_batches() -> Iterator[tuple[str, np.ndarray, list[int]]]:
    """Yield name, images (n, 32, 32, 3) and labels of the six batches: 20 images each."""
    for batch, name in enumerate(
        [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    ):
        yield (
            name,
            np.stack([cut(20 * batch + i, 32, 32) for i in range(20)]),
            [(i + batch) % 10 for i in range(20)],
        )


def planes(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def binary_cifar() -> dict[str, bytes]:
    files = {"cifar-10-batches-bin/batches.meta.txt": ("\n".join(CIFAR) + "\n\n").encode()}
    for name, images, labels in cifar_batches():
        records = np.concatenate([np.array(labels, np.uint8)[:, None], planes(images)], axis=1)
        files[f"cifar-10-batches-bin/{name}.bin"] = records.tobytes()
    return files


def old_text(content: bytes) -> bytes:
    """Return the opcodes of a Python 2 string, the type of the real files' keys and pixels."""
    return (
        b"U" + bytes([len(content)]) + content
        if len(content) < 256
        else b"T" + struct.pack("<i", len(content)) + content
    )


def old_pickle(values: dict[bytes, bytes]) -> bytes:
    """Return a Python 2 pickle of a dictionary whose values are opcodes already."""
    return (
        b"\x80\x02}(" + b"".join(old_text(name) + value for name, value in values.items()) + b"u."
    )


def old_array(array: np.ndarray) -> bytes:
    """Return the opcodes that numpy wrote in Python 2 for a two-dimensional array of bytes."""
    dtype = (
        b"cnumpy\ndtype\n("
        + old_text(b"u1")
        + b"K\0K\1tR(K\3"
        + old_text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in array.shape) + b"t"
    start = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + old_text(b"b") + b"tR"
    )
    return start + b"(K\1" + shape + dtype + b"\x89" + old_text(array.tobytes()) + b"tb"


def old_list(values: list[bytes]) -> bytes:
    return b"](" + b"".join(values) + b"e"


def pickled_cifar() -> dict[str, bytes]:
    names = old_pickle(
        {
            b"num_cases_per_batch": b"M\x14\0",
            b"label_names": old_list([old_text(n.encode()) for n in CIFAR]),
        }
    )
    files = {"cifar-10-batches-py/batches.meta": names}
    for name, images, labels in cifar_batches():
        values = {
            b"batch_label": old_text(b"training batch"),
            b"labels": old_list([b"K" + bytes([i]) for i in labels]),
        }
        files[f"cifar-10-batches-py/{name}"] = old_pickle(
            {**values, b"data": old_array(planes(images))}
        )
    return files


@pytest.mark.parametrize(
    ("archive", "files"),
    [("cifar-10-binary.tar.gz", binary_cifar()), ("cifar-10-python.tar.gz", pickled_cifar())],
)
def test_cifar10(
    archive: str, files: dict[str, bytes], tmp_path: Path, get: Callable[..., Data]
) -> None:
    write_tar(tmp_path / archive, files)
    data = get("cifar10")
    assert (sizes(data), data.class_names, data.image_size) == ((80, 20, 20), CIFAR, 32)
    assert (
        data.images.tolist()
        == np.concatenate([images for _, images, _ in cifar_batches()]).tolist()
    )
    assert data.labels.tolist() == [label for *_, labels in cifar_batches() for label in labels]
    assert data.test.tolist() == list(range(100, 120))
    assert sizes(get("cifar10", images_per_class=3)) == (30, 20, 20)  # the tiny subset of 2c


def test_torchvision_reads_the_same_from_the_same_files(
    tmp_path: Path, get: Callable[..., Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "cifar-10-python.tar.gz", pickled_cifar())
    data = get("cifar10")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = [torchvision.datasets.CIFAR10(tmp_path, train=train) for train in (True, False)]
    assert data.images.tolist() == np.concatenate([part.data for part in theirs]).tolist()
    assert data.labels.tolist() == [label for part in theirs for label in part.targets]
    assert data.class_names == tuple(theirs[0].classes)


class Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_no_pickle_runs_code(tmp_path: Path, get: Callable[..., Data]) -> None:
    files = pickled_cifar()
    files["cifar-10-batches-py/data_batch_3"] = pickle.dumps(
        {"data": Evil(tmp_path / "made by a pickle")}
    )
    write_tar(tmp_path / "cifar-10-python.tar.gz", files)
    with pytest.raises(
        ConfigError, match=r"cifar10.*data_batch_3 is damaged \(it asks for posix.mkdir"
    ):
        get("cifar10")
    assert not (tmp_path / "made by a pickle").exists()


@pytest.mark.parametrize(
    ("file", "values", "reason"),
    [
        (
            "data_batch_3",
            {"data": np.array([[None]]), "labels": [0]},
            "an array of other things than bytes",
        ),
        (
            "data_batch_3",
            {"data": np.zeros((1, 3072), np.uint8), "labels": [10]},
            "labels that do not fit",
        ),
        (
            "test_batch",
            {"data": np.zeros((1, 3072), np.uint8), "labels": [1, 1]},
            "labels that do not fit",
        ),
        ("test_batch", {"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, "cannot reshape"),
        ("test_batch", [], "list indices"),
        ("batches.meta", {"label_names": ["airplane"]}, "1 names of 10 classes"),
        ("batches.meta", {"num_cases": 1}, "label_names"),
        ("batches.meta", b"\x80\x04\x95" + b"\xff" * 8, "FRAME length"),
    ],
)
def test_pickles_of_something_else_are_named(
    file: str, values: object, reason: str, tmp_path: Path, get: Callable[..., Data]
) -> None:
    content = values if isinstance(values, bytes) else pickle.dumps(values)
    write_tar(
        tmp_path / "cifar-10-python.tar.gz",
        pickled_cifar() | {f"cifar-10-batches-py/{file}": content},
    )
    with pytest.raises(
        ConfigError, match=rf"dataset = 'cifar10': .*/{file} is damaged \(.*{reason}"
    ):
        get("cifar10")


def test_damaged_cifar10_is_named(tmp_path: Path, get: Callable[..., Data]) -> None:
    write_tar(tmp_path / "cifar-10-binary.tar.gz", binary_cifar())
    get("cifar10")
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"data_batch_2.bin is damaged \("):
        get("cifar10", 33)
    path.unlink()
    with pytest.raises(
        ConfigError,
        match=r"no .*data_batch_2.bin; remove .*cifar-10-batches-bin to have it unpacked",
    ):
        get("cifar10", 34)
