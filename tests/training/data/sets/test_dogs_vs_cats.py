"""dogs_vs_cats, from small archives in the layout of the real ones, with real images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fieldtrial.config import ConfigError
from fieldtrial.training.data.load import Data
from tests.training.photos import cut, jpeg, near, sizes, write_zip


def dogs_and_cats() -> dict[str, bytes]:
    files = {f"train/cat.{i}.jpg": jpeg(2 * i, 40, 60) for i in range(20)}
    return files | {f"train/dog.{i}.jpg": jpeg(2 * i + 1, 60, 40) for i in range(20)}


def as_downloaded(root: Path) -> None:
    """Write dogs-vs-cats.zip as Kaggle packs it: archives in an archive."""
    for name, files in (("train", dogs_and_cats()), ("test1", {"test1/1.jpg": jpeg(0)})):
        write_zip(root / f"{name}.zip", files)
    inner = {f"{name}.zip": (root / f"{name}.zip").read_bytes() for name in ("test1", "train")}
    write_zip(root / "dogs-vs-cats.zip", {"sampleSubmission.csv": b"id,label\n", **inner})
    for name in inner:
        (root / name).unlink()


def as_inner_archive(root: Path) -> None:
    write_zip(root / "train.zip", dogs_and_cats())


def as_folder(root: Path) -> None:
    for name, content in dogs_and_cats().items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)


@pytest.mark.parametrize("write", [as_downloaded, as_inner_archive, as_folder])
def test_dogs_vs_cats_is_cut_70_to_30(
    write: Callable[[Path], None], tmp_path: Path, get: Callable[..., Data]
) -> None:
    write(tmp_path)
    data = get("dogs_vs_cats", 40, validation_fraction=0.5)
    assert (sizes(data), data.class_names) == ((14, 14, 12), ("cat", "dog"))
    for part in (data.train, data.validation, data.test):
        assert np.bincount(data.labels[part]).tolist() == [len(part) // 2] * 2
    assert near(data.images[11], cut(22, 40, 60)[:, 10:50])  # by number: 2 before 11
    assert near(data.images[31], cut(23, 60, 40)[10:50])
    assert get("dogs_vs_cats", 40, seed=1).test.tolist() == data.test.tolist()
    assert not list(tmp_path.rglob("test1*"))


def test_dogs_vs_cats_says_how_to_get_it(tmp_path: Path, get: Callable[..., Data]) -> None:
    with pytest.raises(ConfigError, match="dataset = 'dogs_vs_cats': is not in ") as error:
        get("dogs_vs_cats", root=tmp_path / "empty")
    for part in (
        "account",
        "https://www.kaggle.com/c/dogs-vs-cats/rules",
        "kaggle competitions download -c dogs-vs-cats",
    ):
        assert part in str(error.value)
    for part in (
        str(tmp_path / "empty"),
        "dogs-vs-cats.zip or train.zip",
        "--data-root",
        "FIELDTRIAL_DATA",
    ):
        assert part in str(error.value)
