"""The data sets of the reports, each from a small archive in the layout of the real one, with real images."""

import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from sklearn.datasets import load_sample_image

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data import Data, load

PHOTOS = (load_sample_image("china.jpg"), load_sample_image("flower.jpg"))
INAT = ("Amphibia", "Animalia", "Arachnida", "Aves", "Fungi", "Insecta", "Mammalia", "Mollusca", "Plantae", "Reptilia")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cut(number: int, height: int, width: int) -> np.ndarray:
    """Return a piece of a photo, another one for each number."""
    photo = PHOTOS[number % 2]
    top, left = number * 7 % (photo.shape[0] - height), number * 13 % (photo.shape[1] - width)
    return np.array(photo[top : top + height, left : left + width])


def jpeg(number: int, height: int = 64, width: int = 64, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(cut(number, height, width)).convert(mode).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in dict.fromkeys(
            f"{parent}/" for file in files for parent in Path(file).parents if str(parent) != "."
        ):
            archive.mkdir(name.rstrip("/"))
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Data]:
    """Load a data set from this test's folder, with a fifth for validation."""

    def load_it(dataset: str, image_size: int | None = None, root: Path = tmp_path, **fields: object) -> Data:
        monkeypatch.setenv("FIELDTRIAL_DATA", str(root))
        return load(TrainConfig.from_dict({"dataset": dataset, "validation_fraction": 0.2, **fields}), image_size)

    return load_it


def sizes(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def near(image: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether an image is the expected one, but for what a JPEG loses."""
    return bool(np.abs(image.astype(int) - expected).mean() < 5)


# inat10


@pytest.fixture
def nature(tmp_path: Path) -> Path:
    """Write nature_12K.zip with 5 and 2 images of each class, and what macOS leaves."""
    files = {"inaturalist_12K/.DS_Store": b"\0", "inaturalist_12K/train/.DS_Store": b"\0"}
    for number, name in enumerate(INAT):
        files |= {f"inaturalist_12K/train/{name}/{i:x}.jpg": jpeg(10 * number + i, 50, 80) for i in range(5)}
        files |= {f"inaturalist_12K/val/{name}/{i:x}.jpg": jpeg(10 * number + i, 80, 50) for i in range(5, 7)}
    write_zip(tmp_path / "nature_12K.zip", files)
    return tmp_path


def test_inat10_is_tested_on_its_val_folder(nature: Path, get: Callable[..., Data]) -> None:
    data = get("inat10", 48)
    assert (sizes(data), data.class_names) == ((40, 10, 20), INAT)
    assert np.bincount(data.labels[data.test]).tolist() == [2] * 10
    wide, tall = cut(0, 50, 80)[:, 15:65], cut(5, 80, 50)[15:65]
    assert near(data.images[0], np.asarray(Image.fromarray(wide).resize((48, 48), Image.Resampling.BICUBIC)))
    assert near(data.images[data.test[0]], np.asarray(Image.fromarray(tall).resize((48, 48), Image.Resampling.BICUBIC)))
    assert not list((nature / "inaturalist_12K").rglob(".DS_Store"))
    assert sizes(get("inat10", 48, classes="3-4", images_per_class=2)) == (4, 2, 4)
    assert get("inat10").image_size == 224


def test_inat10_without_a_class_names_it(nature: Path, get: Callable[..., Data]) -> None:
    get("inat10", 16)
    (nature / "inaturalist_12K" / "val" / "Fungi").rename(nature / "Fungi")
    with pytest.raises(ConfigError, match=r"dataset = 'inat10': .* only in train/: Fungi"):
        get("inat10", 17)
    (nature / "inaturalist_12K" / "val").rename(nature / "val")
    with pytest.raises(ConfigError, match=rf"dataset = 'inat10': no folder {nature}/inaturalist_12K/val$"):
        get("inat10", 18)


# cifar10


def cifar_batches() -> Iterator[tuple[str, np.ndarray, list[int]]]:
    """Yield name, images (n, 32, 32, 3) and labels of the six batches: 20 images each."""
    for batch, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        yield name, np.stack([cut(20 * batch + i, 32, 32) for i in range(20)]), [(i + batch) % 10 for i in range(20)]


def planes(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def binary_cifar() -> dict[str, bytes]:
    files = {"cifar-10-batches-bin/batches.meta.txt": ("\n".join(CIFAR) + "\n\n").encode()}
    for name, images, labels in cifar_batches():
        records = np.concatenate([np.array(labels, np.uint8)[:, None], planes(images)], axis=1)
        files[f"cifar-10-batches-bin/{name}.bin"] = records.tobytes()
    return files


def old_text(content: bytes) -> bytes:
    """Return the opcodes of a Python 2 string, which is how the real files have their keys and pixels."""
    return (
        b"U" + bytes([len(content)]) + content
        if len(content) < 256
        else b"T" + struct.pack("<i", len(content)) + content
    )


def old_pickle(values: dict[bytes, bytes]) -> bytes:
    """Return a Python 2 pickle of a dictionary whose values are opcodes already."""
    return b"\x80\x02}(" + b"".join(old_text(name) + value for name, value in values.items()) + b"u."


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
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + old_text(b"b") + b"tR"
    return start + b"(K\1" + shape + dtype + b"\x89" + old_text(array.tobytes()) + b"tb"


def old_list(values: list[bytes]) -> bytes:
    return b"](" + b"".join(values) + b"e"


def pickled_cifar() -> dict[str, bytes]:
    names = old_pickle(
        {b"num_cases_per_batch": b"M\x14\0", b"label_names": old_list([old_text(n.encode()) for n in CIFAR])}
    )
    files = {"cifar-10-batches-py/batches.meta": names}
    for name, images, labels in cifar_batches():
        values = {b"batch_label": old_text(b"training batch"), b"labels": old_list([b"K" + bytes([i]) for i in labels])}
        files[f"cifar-10-batches-py/{name}"] = old_pickle({**values, b"data": old_array(planes(images))})
    return files


@pytest.mark.parametrize(
    ("archive", "files"), [("cifar-10-binary.tar.gz", binary_cifar()), ("cifar-10-python.tar.gz", pickled_cifar())]
)
def test_cifar10(archive: str, files: dict[str, bytes], tmp_path: Path, get: Callable[..., Data]) -> None:
    write_tar(tmp_path / archive, files)
    data = get("cifar10")
    assert (sizes(data), data.class_names, data.image_size) == ((80, 20, 20), CIFAR, 32)
    assert data.images.tolist() == np.concatenate([images for _, images, _ in cifar_batches()]).tolist()
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
    files["cifar-10-batches-py/data_batch_3"] = pickle.dumps({"data": Evil(tmp_path / "made by a pickle")})
    write_tar(tmp_path / "cifar-10-python.tar.gz", files)
    with pytest.raises(ConfigError, match=r"cifar10.*data_batch_3 is damaged \(it asks for posix.mkdir"):
        get("cifar10")
    assert not (tmp_path / "made by a pickle").exists()


@pytest.mark.parametrize(
    ("file", "values", "reason"),
    [
        ("data_batch_3", {"data": np.array([[None]]), "labels": [0]}, "an array of something else than bytes"),
        ("data_batch_3", {"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "labels that do not fit"),
        ("test_batch", {"data": np.zeros((1, 3072), np.uint8), "labels": [1, 1]}, "labels that do not fit"),
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
    write_tar(tmp_path / "cifar-10-python.tar.gz", pickled_cifar() | {f"cifar-10-batches-py/{file}": content})
    with pytest.raises(ConfigError, match=rf"dataset = 'cifar10': .*/{file} is damaged \(.*{reason}"):
        get("cifar10")


def test_damaged_cifar10_is_named(tmp_path: Path, get: Callable[..., Data]) -> None:
    write_tar(tmp_path / "cifar-10-binary.tar.gz", binary_cifar())
    get("cifar10")
    path = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"data_batch_2.bin is damaged \("):
        get("cifar10", 33)
    path.unlink()
    with pytest.raises(ConfigError, match=r"no .*data_batch_2.bin; remove .*cifar-10-batches-bin to have it unpacked"):
        get("cifar10", 34)


# stl10


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
    assert not (tmp_path / "stl10_binary" / "unlabeled_X.bin").exists()  # 2.8 GB that nothing here reads
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda _: True)
    theirs = torchvision.datasets.STL10(tmp_path, split="test")
    assert data.images[data.test].tolist() == theirs.data.transpose(0, 2, 3, 1).tolist()
    assert data.labels[data.test].tolist() == theirs.labels.tolist()


def test_damaged_stl10_is_named(tmp_path: Path, get: Callable[..., Data]) -> None:
    files, *_ = stl()
    files["stl10_binary/train_y.bin"] = files["stl10_binary/train_y.bin"][:-1]
    write_tar(tmp_path / "stl10_binary.tar.gz", files)
    with pytest.raises(
        ConfigError, match=r"train_y.bin \(49 labels of 10 classes\) does not fit train_X.bin \(\d+ bytes"
    ):
        get("stl10")
    (tmp_path / "stl10_binary" / "train_X.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"does not fit train_X.bin \(0 bytes\)"):
        get("stl10", 32)


# tinyimagenet


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Write tiny-imagenet-200.zip with three classes, in the order of the real lists: not the alphabetical one."""
    words = {
        "n02124075": "Egyptian cat",
        "n01443537": "goldfish, Carassius auratus",
        "n03126707": "crane",
        "n02012849": "crane",
        "n09999999": "something else",
    }
    top, ids = "tiny-imagenet-200", list(words)[:3]
    files = {
        f"{top}/wnids.txt": "\n".join(ids).encode(),
        f"{top}/words.txt": "".join(f"{name}\t{text}\n" for name, text in words.items()).encode(),
        f"{top}/test/images/test_0.JPEG": jpeg(99),
    }
    annotations = ""
    for number, name in enumerate(ids):
        images = {f"{name}_{i}.JPEG": jpeg(10 * number + i, mode="L" if i == 1 else "RGB") for i in range(5)}
        files[f"{top}/train/{name}/{name}_boxes.txt"] = "".join(
            f"{image}\t0\t10\t63\t58\n" for image in images
        ).encode()
        files |= {f"{top}/train/{name}/images/{image}": content for image, content in images.items()}
    for number in range(6):
        files[f"{top}/val/images/val_{number}.JPEG"] = jpeg(50 + number)
        annotations += f"val_{number}.JPEG\t{ids[number % 3]}\t0\t32\t44\t62\n"
    write_zip(tmp_path / "tiny-imagenet-200.zip", files | {f"{top}/val/val_annotations.txt": annotations.encode()})
    return tmp_path


def test_tinyimagenet_is_tested_on_its_annotated_images(tiny: Path, get: Callable[..., Data]) -> None:
    data = get("tinyimagenet")
    assert (sizes(data), data.image_size) == ((12, 3, 6), 64)
    assert data.class_names == ("goldfish", "Egyptian cat", "crane")
    assert data.labels[data.test].tolist() == [1, 0, 2] * 2
    assert near(data.images[data.test[4]], cut(54, 64, 64))
    assert near(data.images[0], cut(10, 64, 64))  # of n01443537, the second in wnids.txt
    grey = np.asarray(Image.fromarray(cut(11, 64, 64)).convert("L").convert("RGB"))
    assert near(data.images[1], grey)
    assert get("tinyimagenet", classes="2").class_names == ("goldfish", "Egyptian cat")
    assert not (tiny / "tiny-imagenet-200" / "test").exists()


def test_classes_of_one_name_are_told_apart(tiny: Path, get: Callable[..., Data]) -> None:
    get("tinyimagenet")
    words = tiny / "tiny-imagenet-200" / "words.txt"
    words.write_text(words.read_text().replace("Egyptian cat", "crane, a bird"))
    assert get("tinyimagenet", 32).class_names == ("goldfish", "crane, a bird", "crane")


def test_damaged_tinyimagenet_is_named(tiny: Path, get: Callable[..., Data]) -> None:
    get("tinyimagenet")
    folder = tiny / "tiny-imagenet-200"
    annotations = folder / "val" / "val_annotations.txt"
    whole = annotations.read_text()
    annotations.write_text(whole + "val_6.JPEG\tn00000000\t0\t0\t1\t1\n")
    with pytest.raises(ConfigError, match=r"names classes that wnids.txt has not: \['n00000000'\]"):
        get("tinyimagenet", 32)
    annotations.write_text("\n".join(line for line in whole.splitlines() if "n03126707" not in line))
    with pytest.raises(ConfigError, match="no test image of 'crane'"):
        get("tinyimagenet", 33)
    annotations.unlink()
    with pytest.raises(ConfigError, match=r"no .*val_annotations.txt; remove .*tiny-imagenet-200 to have it unpacked"):
        get("tinyimagenet", 34)


# dogs_vs_cats


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
def test_dogs_vs_cats_is_cut_70_to_30(write: Callable[[Path], None], tmp_path: Path, get: Callable[..., Data]) -> None:
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
    for part in (str(tmp_path / "empty"), "dogs-vs-cats.zip or train.zip", "--data-root", "FIELDTRIAL_DATA"):
        assert part in str(error.value)
