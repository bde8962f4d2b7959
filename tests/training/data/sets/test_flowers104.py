"""The 104 flowers: TFRecords written by another library, and class folders."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image
from tensorboard.summary.writer.record_writer import RecordWriter

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.sets import tfrecords
from fieldtrial.training.data.sets.flowers104 import CLASS_NAMES
from fieldtrial.training.data.sets.tfrecords import parse_example, records

PHOTO = load_sample_image("flower.jpg")


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field of a protocol buffer."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(value: bytes | int | list[float]) -> bytes:
    if isinstance(value, bytes):
        return field(1, field(1, value))
    if isinstance(value, list):
        return field(2, field(1, struct.pack(f"<{len(value)}f", *value)))
    return field(3, field(1, varint(value)))  # packed, as TensorFlow writes them


def example(**values: bytes | int | list[float]) -> bytes:
    """Return a tf.train.Example, made by hand from the format's description."""
    entries = (
        field(1, field(1, name.encode()) + field(2, feature(value)))
        for name, value in values.items()
    )
    return field(1, b"".join(entries))


def write_records(path: Path, contents: list[bytes]) -> None:
    """Write a TFRecord file with TensorBoard's writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for content in contents:
            writer.write(content)
        writer.flush()


def flower(label: int, copy: int, side: int = 48) -> np.ndarray:
    top, left = label * 3, label * 4 + copy * 11
    return np.array(PHOTO[top : top + side, left : left + side])


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def petals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the competition's folders: 5 training and 1 validation image of each class."""
    folder = tmp_path_factory.mktemp("petals")
    for size, side in (("192x192", 24), ("512x512", 48)):
        top = folder / f"tfrecords-jpeg-{size}"
        for part, copies in (("train", range(5)), ("val", range(5, 6))):
            samples = [(label, copy) for copy in copies for label in range(104)]
            for shard in range(2):
                half = samples[shard::2]
                messages = [
                    example(id=b"a1", image=jpeg(flower(label, copy, side)), **{"class": label})
                    for label, copy in half
                ]
                write_records(top / part / f"{shard:02}-{size}-{len(half)}.tfrec", messages)
        write_records(
            top / "test" / f"00-{size}-1.tfrec", [example(id=b"b2", image=jpeg(flower(0, 9)))]
        )
    (folder / "sample_submission.csv").write_text("id,label\n")
    return folder


@pytest.fixture
def get(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Data]:
    def load_it(root: Path, image_size: int | None = 48) -> Data:
        monkeypatch.setenv("FIELDTRIAL_DATA", str(root))
        return load(TrainConfig(dataset="flowers104", validation_fraction=0.2), image_size)

    return load_it


def require_flowers(data: Data) -> None:
    assert (len(data.train), len(data.validation), len(data.test)) == (416, 104, 104)
    assert (data.class_names[0], data.class_names[103], len(set(data.class_names))) == (
        "pink primrose",
        "wild rose",
        104,
    )
    assert np.bincount(data.labels[data.test]).tolist() == [1] * 104
    for index in data.test[:10]:
        expected = flower(int(data.labels[index]), 5)
        assert np.abs(data.images[index].astype(int) - expected).mean() < 4


def test_the_records_of_the_largest_size_are_read(petals: Path, get: Callable[..., Data]) -> None:
    require_flowers(get(petals))
    assert get(petals, None).image_size == 224


def test_the_archive_itself_is_accepted_and_only_the_largest_size_unpacked(
    petals: Path, tmp_path: Path, get: Callable[..., Data]
) -> None:
    with zipfile.ZipFile(tmp_path / "tpu-getting-started.zip", "w") as archive:
        for path in sorted(petals.rglob("*.*")):
            archive.write(path, path.relative_to(petals))
    require_flowers(get(tmp_path))
    assert [path.name for path in (tmp_path / "flowers104").iterdir()] == ["tfrecords-jpeg-512x512"]
    assert not list(tmp_path.rglob("test"))


@pytest.mark.parametrize("top", ["jpeg-512x512", "flowers104", "flowers104/jpeg-224x224"])
def test_class_folders_are_read_too(top: str, tmp_path: Path, get: Callable[..., Data]) -> None:
    for part, copies in (("train", range(5)), ("val", range(5, 6)), ("test", range(1))):
        for copy in copies:
            for label in range(3) if part != "test" else (0,):
                folder = tmp_path / top / part / (CLASS_NAMES[label] if part != "test" else "")
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{copy}.jpeg").write_bytes(jpeg(flower(label, copy)))
    data = get(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 3, 3)
    assert data.class_names == ("canterbury bells", "hard-leaved pocket orchid", "pink primrose")


def test_every_damaged_file_is_named(
    petals: Path, tmp_path: Path, get: Callable[..., Data]
) -> None:
    top = tmp_path / "tfrecords-jpeg-512x512"
    for path in (petals / top.name).rglob("*.tfrec"):
        (top / path.parent.name).mkdir(parents=True, exist_ok=True)
        (top / path.parent.name / path.name).write_bytes(path.read_bytes())
    first, second = sorted((top / "train").iterdir())
    first.write_bytes(first.read_bytes()[:-10])
    write_records(second, [example(image=jpeg(flower(0, 0)), **{"class": 104})])
    with pytest.raises(ConfigError) as error:
        get(tmp_path)
    assert error.value.problems == [
        f"dataset = 'flowers104': {first} is cut off in record 259",
        f"dataset = 'flowers104': {second}: the record at byte 12 has the class 104, not 0 to 103",
    ]


def test_flowers_say_how_to_get_them(tmp_path: Path, get: Callable[..., Data]) -> None:
    with pytest.raises(ConfigError, match="dataset = 'flowers104': is not in ") as error:
        get(tmp_path)
    for part in (
        "account",
        "https://www.kaggle.com/c/tpu-getting-started/rules",
        "kaggle competitions download -c tpu-",
    ):
        assert part in str(error.value)
    (tmp_path / "flowers104" / "train").mkdir(parents=True)
    with pytest.raises(
        ConfigError, match="has no folders train/ and val/, nor tfrecords-jpeg-512x512/"
    ):
        get(tmp_path)


# the record format


def test_records_come_back_with_their_positions(tmp_path: Path) -> None:
    contents = [b"", b"x" * 70_000, bytes(range(256))]
    write_records(tmp_path / "file", contents)
    found = list(records(tmp_path / "file"))
    assert [data for _, data in found] == contents
    whole = (tmp_path / "file").read_bytes()
    assert all(whole[position : position + len(data)] == data for position, data in found)
    (tmp_path / "file").write_bytes(b"")
    assert list(records(tmp_path / "file")) == []


@pytest.mark.parametrize(
    ("position", "problem"),
    [
        (0, "the head of record 0 is damaged"),
        (9, "the head of record 0"),
        (14, "record 0 is damaged"),
        (22, "record 0 is"),
    ],
)
def test_each_changed_byte_is_found(position: int, problem: str, tmp_path: Path) -> None:
    write_records(tmp_path / "file", [b"0123456789", b"more"])
    content = bytearray((tmp_path / "file").read_bytes())
    content[position] ^= 1
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"file: {problem}"):
        list(records(tmp_path / "file"))


def test_a_record_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_records(path, [b"one"])
    length = struct.pack("<Q", 3 << 30)
    with path.open("ab") as file:
        file.write(length + struct.pack("<I", tfrecords._masked(length)))
        file.truncate(4 << 30)  # which needs no room
    with pytest.raises(ValueError, match=r"record 1 has 3,221,225,472 bytes; must be at most 67,"):
        list(records(path))


@pytest.mark.parametrize("length", [5, 12, 20, 25, 30, 41])
def test_files_that_are_cut_off_are_found(length: int, tmp_path: Path) -> None:
    write_records(tmp_path / "file", [b"0123456789", b"more"])
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:length])
    with pytest.raises(ValueError, match=f"file is cut off in record {int(length > 26)}"):
        list(records(tmp_path / "file"))


def test_examples_are_parsed() -> None:
    message = example(image=b"\xff\xd8\0", label=300, empty=b"", weights=[0.5, -2.0])
    expected = {"image": [b"\xff\xd8\0"], "label": [300], "empty": [b""], "weights": [0.5, -2.0]}
    assert parse_example(message) == expected
    unpacked = field(
        1, field(1, field(1, b"class") + field(2, field(3, b"\x08\x07")))
    )  # also legal
    assert parse_example(unpacked) == {"class": [7]}
    assert parse_example(b"") == {}
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example"):
        parse_example(message[:-1])
