"""stl10, from a small archive in the layout of the real one, with real images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from fieldtrial.config import ConfigError
from fieldtrial.training.data.load import Data
from tests.training.photos import cut, sizes, write_tar


def stl() -> tuple[dict[str, bytes], np.ndarray, list[int]]:
    names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    images, labels = np.stack([cut(i, 96, 96) for i in range(70)]), [i % 10 for i in range(70)]
    stored = images.transpose(0, 3, 2, 1)  # channels, columns, rows
    one_based = np.array(labels, np.uint8) + 1
    files = {
        "stl10_binary/test_X.bin": stored[50:].tobytes(),
        "stl10_binary/test_y.bin": one_based[50:].tobytes(),
        "stl10_binary/train_X.bin": stored[:50].tobytes(),
        "stl10_binary/train_y.bin": one_based[:50].tobytes(),
        "stl10_binary/unlabeled_X.bin": stored[:5].tobytes(),
        "stl10_binary/class_names.txt": "\n".join(names).encode(),
        "stl10_binary/fold_indices.txt": b"0 1 2\n",
    }
    return files, images, labels


def test_stl10(tmp_path: Path, get: Callable[..., Data], monkeypatch: pytest.MonkeyPatch) -> None:
    files, images, labels = stl()
    write_tar(tmp_path / "stl10_binary.tar.gz", files)
    data = get("stl10")
    assert (sizes(data), data.image_size, data.class_names[7]) == ((40, 10, 20), 96, "monkey")
    assert data.images.tolist() == images.tolist()
    assert data.labels.tolist() == labels
    assert not (
        tmp_path / "stl10_binary" / "unlabeled_X.bin"
    ).exists()  # 2.8 GB that nothing here reads
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda _: True)
    theirs = torchvision.datasets.STL10(tmp_path, split="test")
    assert data.images[data.test].tolist() == theirs.data.transpose(0, 2, 3, 1).tolist()
    assert data.labels[data.test].tolist() == theirs.labels.tolist()


def test_damaged_stl10_is_named(tmp_path: Path, get: Callable[..., Data]) -> None:
    files, *_ = stl()
    files["stl10_binary/train_y.bin"] = files["stl10_binary/train_y.bin"][:-1]
    write_tar(tmp_path / "stl10_binary.tar.gz", files)
    with pytest.raises(
        ConfigError,
        match=r"train_y.bin \(49 labels of 10 classes\) does not fit train_X.bin \(\d+ bytes",
    ):
        get("stl10")
    (tmp_path / "stl10_binary" / "train_X.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"does not fit train_X.bin \(0 bytes\)"):
        get("stl10", 32)
