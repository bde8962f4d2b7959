"""Users' data sets: folders of JPEG and PNG files, MNIST's files, and their defects."""

import gzip
import hashlib
import http.server
import shutil
import struct
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image
from torchvision.datasets import MNIST

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data import load as data_module
from fieldtrial.training.data.load import Data, load

PHOTOS = {"china": load_sample_image("china.jpg"), "flower": load_sample_image("flower.jpg")}


def write_part(folder: Path, count: int, classes: tuple[str, ...] = ("china", "flower")) -> None:
    """Write `count` different cuts of a photo for each class, JPEG and PNG in turn."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            cut = PHOTOS.get(name, PHOTOS["china"])[
                10 * number : 10 * number + 96, 7 * number : 7 * number + 128
            ]
            Image.fromarray(cut).save(
                folder / name / f"{number:03}.{'png' if number % 2 else 'JPG'}"
            )


def load_folder(path: Path | str, image_size: int | None = 16, **values: object) -> Data:
    return load(TrainConfig.from_dict({"dataset": f"folder:{path}", **values}), image_size)


def sizes(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": 10, "val": 3}, (16, 4, 6)),
        ({"train": 10, "test": 3}, (16, 4, 6)),
        ({"train": 10, "val": 3, "test": 2}, (20, 6, 4)),
        ({"train": 10}, (12, 4, 4)),
        ({"": 10}, (12, 4, 4)),
    ],
)
def test_parts_that_are_there_are_used_and_others_cut(
    parts: dict[str, int], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    for name, count in parts.items():
        write_part(tmp_path / "photos" / name, count)
    data = load_folder(tmp_path / "photos", validation_fraction=0.2)
    assert sizes(data) == expected
    assert data.class_names == ("china", "flower")
    for part in (data.train, data.validation, data.test):
        assert np.bincount(data.labels[part]).tolist() == [len(part) // 2] * 2


def test_images_are_centre_squares_in_colour(tmp_path: Path) -> None:
    write_part(tmp_path / "train", 2)
    write_part(tmp_path / "test", 1)
    data = load_folder(tmp_path, 48, validation_fraction=0.5)
    assert data.images.shape == (6, 48, 48, 3)
    assert data.channels == 3
    for image, cut, allowed in (
        (0, PHOTOS["china"][:96, :128], 30),
        (1, PHOTOS["china"][10:106, 7:135], 1),
    ):
        resized = Image.fromarray(cut).resize(
            (64, 48), Image.Resampling.BICUBIC
        )  # then 8 columns go on each side
        expected = np.asarray(resized.crop((8, 0, 56, 48)))
        assert (
            np.abs(data.images[image].astype(int) - expected).max() <= allowed
        )  # the first is a JPEG
    assert load_folder(tmp_path, None, validation_fraction=0.5).image_size == 224


def test_large_jpegs_are_decoded_at_reduced_detail_to_the_same_picture(tmp_path: Path) -> None:
    for part in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / part).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(PHOTOS["flower"]).save(tmp_path / part / f"{number}.jpg", quality=95)
    data = load_folder(tmp_path, 32, validation_fraction=0.5)
    exact = (
        Image.fromarray(PHOTOS["flower"])
        .crop((106, 0, 533, 427))
        .resize((32, 32), Image.Resampling.BICUBIC)
    )
    assert np.abs(data.images[0].astype(int) - np.asarray(exact)).mean() < 3


def test_every_kind_of_8_bit_image_becomes_colour(tmp_path: Path) -> None:
    write_part(tmp_path / "train", 2)
    write_part(tmp_path / "test", 1)
    photo = Image.fromarray(PHOTOS["china"][:96, :96])
    for mode, suffix in (
        ("L", "png"),
        ("P", "png"),
        ("RGBA", "png"),
        ("1", "bmp"),
        ("CMYK", "jpg"),
        ("RGB", "webp"),
    ):
        photo.convert(mode).save(tmp_path / "train" / "china" / f"z{mode}.{suffix}")
    data = load_folder(tmp_path, 96, validation_fraction=0.4)
    for image, mode in zip(data.images[2:8], ("1", "CMYK", "L", "P", "RGB", "RGBA"), strict=True):
        expected = np.asarray(photo.convert(mode).convert("RGB"))
        assert np.abs(image.astype(int) - expected).mean() <= (
            8 if mode in ("CMYK", "RGB") else 0
        )  # JPEG and WebP


def test_files_that_are_no_images_and_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    write_part(tmp_path, 10)
    (tmp_path / "china" / "notes.txt").write_text("not an image")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "china" / "more").mkdir()
    shutil.copy(tmp_path / "china" / "001.png", tmp_path / "china" / "more" / "copy.png")
    assert sum(sizes(load_folder(tmp_path))) == 21


def test_relative_paths_are_looked_for_here_and_under_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path / "root"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(
        ConfigError, match=r"folder:photos'.*here/photos and .*root/photos.*train/.*FIELDTRIAL_DATA"
    ):
        load_folder("photos")
    write_part(tmp_path / "root" / "photos", 10)
    assert sum(sizes(load_folder("photos"))) == 20
    write_part(tmp_path / "here" / "photos", 20)
    assert sum(sizes(load_folder("photos"))) == 40


def test_a_changed_folder_is_decoded_anew(tmp_path: Path) -> None:
    write_part(tmp_path, 10)
    before = load_folder(tmp_path)
    shutil.copy(tmp_path / "china" / "001.png", tmp_path / "china" / "added.png")
    data_module._load.cache_clear()  # as a new process would start
    data_module._open.cache_clear()
    assert sum(sizes(load_folder(tmp_path))) == sum(sizes(before)) + 1


def test_unknown_data_set() -> None:
    choices = r"digits, mnist, .*, flowers104, shapes, folder:PATH, boxes:PATH"
    with pytest.raises(ConfigError, match=rf"'digit': must be one of {choices}"):
        load(TrainConfig(dataset="digit"), None)


def test_damaged_images_are_all_named(tmp_path: Path) -> None:
    write_part(tmp_path / "train", 10)
    write_part(tmp_path / "test", 1)
    truncated, no_image, wide = (
        tmp_path / "train" / "china" / name for name in ("000.JPG", "001.png", "002.JPG")
    )
    truncated.write_bytes(truncated.read_bytes()[:700])
    no_image.write_bytes(b"not an image")
    Image.fromarray(np.full((9, 9), 60000, np.uint16)).save(wide, format="png")
    with pytest.raises(ConfigError) as error:
        load_folder(tmp_path)
    assert len(error.value.problems) == 3
    for path, problem in zip((truncated, no_image, wide), error.value.problems, strict=True):
        assert str(path) in problem
    assert "more than 8 bits" in error.value.problems[2]
    for path in (truncated, no_image, wide):
        shutil.copy(tmp_path / "train" / "china" / "004.JPG", path)
    assert sum(sizes(load_folder(tmp_path))) == 22  # nothing of the failed attempt is in the way


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    write_part(tmp_path / "train", 10)
    write_part(tmp_path / "val", 1)
    for name in ("train/china", "val/china"):
        shutil.rmtree(tmp_path / name)
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="train/china has no image") as error:
        load_folder(tmp_path)
    assert "val/china" in error.value.problems[1]


def test_parts_that_disagree_about_classes_are_named(tmp_path: Path) -> None:
    write_part(tmp_path / "train", 3, ("china", "flower", "tree"))
    write_part(tmp_path / "val", 3, ("china", "flower", "trees"))
    with pytest.raises(ConfigError, match=r"only in train/: tree\n.*only in val/: trees"):
        load_folder(tmp_path)


def test_folders_that_are_no_data_set(tmp_path: Path) -> None:
    write_part(tmp_path / "no_train" / "val", 1)
    with pytest.raises(
        ConfigError, match="no_train holds val/, and no train/; it must hold one folder of images"
    ):
        load_folder(tmp_path / "no_train")
    write_part(tmp_path / "one_class", 5, ("china",))
    with pytest.raises(ConfigError, match="must hold two or more class folders, and holds 1"):
        load_folder(tmp_path / "one_class")


def test_four_images_of_a_class_can_be_cut(tmp_path: Path) -> None:
    """By rank each class has one to test on; scikit-learn's cut of forty would leave some none."""
    names = tuple(f"class{number}" for number in range(10))
    write_part(tmp_path / "photos", 4, names)
    data = load_folder(tmp_path / "photos", validation_fraction=0.34)
    assert np.bincount(data.labels[data.test]).tolist() == [1] * 10


def test_a_class_too_small_to_cut_is_named(tmp_path: Path) -> None:
    write_part(tmp_path / "photos", 20)
    write_part(tmp_path / "photos", 1, ("tree",))
    with pytest.raises(ConfigError, match=r"no test set of its own, and .* 'tree' \(1 image\)"):
        load_folder(tmp_path / "photos")
    (tmp_path / "photos").rename(tmp_path / "train")
    write_part(tmp_path / "test", 1, ("china", "flower", "tree"))
    with pytest.raises(ConfigError, match=r"validation_fraction = 0.2: .* 'tree' \(1 image\)"):
        load_folder(tmp_path, validation_fraction=0.2)


# MNIST, with scikit-learn's digits in its files


@pytest.fixture
def mnist_files(tmp_path: Path) -> Path:
    """Write the four files, with 300 and 100 images of 28 x 28."""
    folder = tmp_path / "given" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    digits = load_digits()
    images = np.kron(digits.images, np.ones((3, 3)))[:400]
    images = np.pad(images * 15, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    for name, part in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        count = part.stop - part.start
        pixels = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28) + images[part].tobytes()
        labels = (
            struct.pack(">HBBI", 0, 8, 1, count) + digits.target[part].astype(np.uint8).tobytes()
        )
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder


def load_mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setenv("FIELDTRIAL_DATA", str(root))
    return load(TrainConfig(dataset="mnist"), None)


def test_mnist_is_read_packed_and_unpacked(
    mnist_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = load_mnist(mnist_files.parents[1], monkeypatch)
    assert sizes(packed) == (270, 30, 100)
    unpacked = mnist_files.parents[2] / "unpacked"
    (unpacked / "MNIST" / "raw").mkdir(parents=True)
    for path in mnist_files.iterdir():
        (unpacked / "MNIST" / "raw" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    theirs = [MNIST(unpacked, train=train) for train in (True, False)]
    for data in (packed, load_mnist(unpacked, monkeypatch)):
        assert (
            data.images[..., 0].tolist()
            == np.concatenate([part.data.numpy() for part in theirs]).tolist()
        )
        assert (
            data.labels.tolist()
            == np.concatenate([part.targets.numpy() for part in theirs]).tolist()
        )
        assert data.test.tolist() == list(range(300, 400))


@pytest.fixture
def mirror(mnist_files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve the four files on this machine, as torchvision's mirrors do."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(mnist_files))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        sums = [
            (path.name, hashlib.md5(path.read_bytes()).hexdigest())
            for path in sorted(mnist_files.iterdir())
        ]
        monkeypatch.setattr(MNIST, "resources", sums)
        yield
        server.shutdown()


@pytest.mark.usefixtures("mirror")
def test_mnist_is_downloaded_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sizes(load_mnist(tmp_path / "empty", monkeypatch)) == (270, 30, 100)
    assert len(list((tmp_path / "empty" / "MNIST" / "raw").iterdir())) == 4


def test_mnist_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        MNIST, "mirrors", ["http://127.0.0.1:9/"]
    )  # the discard port: refused at once
    with pytest.raises(
        ConfigError, match="dataset = 'mnist': no train-images-idx3-ubyte, "
    ) as error:
        load_mnist(tmp_path / "empty", monkeypatch)
    for part in (
        str(tmp_path / "empty" / "MNIST" / "raw"),
        "refused",
        "Copy MNIST's four files",
        "FIELDTRIAL_DATA",
    ):
        assert part in str(error.value)


def test_damaged_mnist_files_are_named(mnist_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mnist_files / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    flipped = bytes(
        byte ^ 255 if 2000 < number < 2100 else byte for number, byte in enumerate(whole)
    )
    for damaged in (
        whole[:-100],
        flipped,
        b"<html>",
        gzip.compress(b"\0\0\x08\x03" + bytes(11)),
        gzip.compress(b"no"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(
            ConfigError, match=r"train-images-idx3-ubyte\.gz is damaged .*remove it"
        ):
            load_mnist(mnist_files.parents[1], monkeypatch)
    path.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setattr("fieldtrial.training.data.sets.mnist.MOST_BYTES", 1000)
        with pytest.raises(ConfigError, match="is damaged"):
            load_mnist(mnist_files.parents[1], monkeypatch)
    path.write_bytes((mnist_files / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(ConfigError, match=r"train-labels.* does not fit .*train-images"):
        load_mnist(mnist_files.parents[1], monkeypatch)
