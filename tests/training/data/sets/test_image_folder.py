"""Folders as people and tools leave them: names of parts, hidden copies, links, odd files."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data.dataset import PART_NAMES
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.sets.image_folder import image_folder

CLASSES = ("dark", "light")


def fill(folder: Path, count: int, classes: tuple[str, ...] = CLASSES, suffix: str = "png") -> None:
    """Write `count` different images for each class."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            random = np.random.default_rng([number, *os.fsencode(folder / name)])
            pixels = random.integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.{suffix}")


def counts(root: Path) -> dict[str, int]:
    """The images of each part, before anything is split off the training images."""
    contents = image_folder(root, cut_test=False).contents()
    numbers = np.bincount(contents.parts, minlength=3).tolist()
    return {name: number for name, number in zip(PART_NAMES, numbers, strict=True) if number}


def opened(root: Path, **values: Any) -> Data:
    return load(TrainConfig(dataset=f"folder:{root}", **values), 16)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("train", "valid", "test"), (6, 4, 2)),
        (("Train", "Validation", "Test"), (6, 4, 2)),
        (("training", "validation", "testing"), (6, 4, 2)),
        (("training_set", "test_set"), (6, 0, 4)),
        (("train", "valid"), (6, 0, 4)),
        (("seg_train/seg_train", "seg_test/seg_test"), (6, 0, 4)),
    ],
)
def test_the_usual_names_of_parts(
    tmp_path: Path, parts: tuple[str, ...], expected: tuple[int, int, int]
) -> None:
    for number, part in enumerate(parts):
        fill(tmp_path / part, 3 - number)
    wanted = dict(zip(PART_NAMES, expected, strict=True))
    assert counts(tmp_path) == {name: number for name, number in wanted.items() if number}
    remark = image_folder(tmp_path).remarks[0]
    assert remark.startswith(f"took {parts[0]}/ for training, {parts[1]}/ for ")


@pytest.mark.parametrize(
    "parts", [("train2017", "val2017"), ("x_train", "x_test"), ("train-1", "train-2")]
)
def test_folders_that_look_like_parts_are_no_classes(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    for part in parts:
        fill(tmp_path / part, 3)
    names = ", ".join(f"{part}/" for part in sorted(parts))
    with pytest.raises(ConfigError, match=f"holds {names}, which look like parts but are not"):
        image_folder(tmp_path)
    fill(tmp_path / "classes", 4, ("train-stations", "test-tubes"))  # with images of their own
    fill(tmp_path / "classes" / "train-stations", 1)
    fill(tmp_path / "classes" / "test-tubes", 1)
    assert counts(tmp_path / "classes") == {"training": 12}


def test_the_folder_that_is_meant_is_named_where_it_lies_deeper(tmp_path: Path) -> None:
    fill(tmp_path / "whole" / "images", 3)
    with pytest.raises(ConfigError, match=f"holds 1; did you mean {tmp_path}/whole/images") as one:
        image_folder(tmp_path / "whole")
    assert len(one.value.problems) == 1
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ConfigError, match=r"and holds 0$"):
        image_folder(tmp_path / "nothing")


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    fill(tmp_path, 5, ("train", "bus", "test"))
    assert image_folder(tmp_path).contents().class_names == ("bus", "test", "train")


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (("train", "test", "extra"), "holds extra/, test/, train/; extra/ is no name of a part"),
        (("train", "Training", "test"), r"Training/ and train/ are both the training images"),
        (("test", "val"), "holds test/, val/, and no train/"),
    ],
)
def test_a_mixture_of_parts_and_others_is_refused(
    tmp_path: Path, folders: tuple[str, ...], reason: str
) -> None:
    for name in folders:
        fill(tmp_path / name, 2)
    with pytest.raises(ConfigError, match=reason):
        image_folder(tmp_path)


def test_folders_without_images_beside_the_parts_do_no_harm(tmp_path: Path) -> None:
    fill(tmp_path / "train", 4)
    fill(tmp_path / "test", 2)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "boxes.csv").write_text("name,x\n")
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    assert counts(tmp_path) == {"training": 8, "test": 4}


@pytest.mark.parametrize("tool", [".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX"])
def test_copies_of_tools_are_no_images(tmp_path: Path, tool: str) -> None:
    fill(tmp_path, 5)
    shutil.copytree(tmp_path / "dark", tmp_path / "dark" / tool)
    shutil.copy(tmp_path / "light" / "00.png", tmp_path / "light" / "._00.png")
    dataset = image_folder(tmp_path)
    assert len(dataset.contents().labels) == 10
    assert dataset.remarks == (f"passed over 2 names hidden or of tools: 1 {tool}, 1 hidden file",)


def test_what_pillow_reads_is_an_image_whatever_its_name(tmp_path: Path) -> None:
    """The right count is the number of files that Pillow opens."""
    fill(tmp_path, 5)
    photo = Image.open(tmp_path / "dark" / "00.png")
    for name, form in (("a.jfif", "JPEG"), ("b.gif", "GIF"), ("c.jpe", "JPEG"), ("d", "PNG")):
        photo.save(tmp_path / "dark" / name, form)
    photo.save(tmp_path / "dark" / "e.img", "WEBP")
    (tmp_path / "dark" / "Thumbs.db").write_bytes(b"\0" * 10)
    (tmp_path / "dark" / "notes.txt").write_text("no image")
    (tmp_path / "dark" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "beside.png").write_bytes((tmp_path / "dark" / "00.png").read_bytes())
    readable = 0
    for path in (tmp_path / "dark").iterdir():
        try:
            Image.open(path).load()
            readable += 1
        except OSError:
            continue
    dataset = image_folder(tmp_path)
    labels = dataset.contents().labels
    assert (labels == 0).sum() == readable == 10
    assert dataset.remarks == (
        "passed over 2 files other than images: 1 .txt, 1 .heic",
        "passed over 1 name hidden or of tools: 1 hidden file",
        "passed over 1 image beside the class folders",
    )


def test_links_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    fill(tmp_path / "set", 3)
    fill(tmp_path / "elsewhere", 4, ("more",))
    dark = tmp_path / "set" / "dark"
    for name, target in (
        ("more", tmp_path / "elsewhere" / "more"),
        ("more_again", tmp_path / "elsewhere" / "more"),
        ("upwards", tmp_path / "set"),
        ("itself", dark),
        ("nowhere", tmp_path / "missing"),
        ("same.png", tmp_path / "elsewhere" / "more" / "00.png"),
    ):
        (dark / name).symlink_to(target)
    dataset = image_folder(tmp_path / "set")
    assert (dataset.contents().labels == 0).sum() == 3 + 4
    assert dataset.remarks == ("passed over 5 links to nothing, or to what was there before",)


def test_numbers_are_in_the_order_of_numbers_and_chosen_by_name(tmp_path: Path) -> None:
    fill(tmp_path, 20, tuple(map(str, range(1, 13))))
    assert opened(tmp_path).class_names == tuple(map(str, range(1, 13)))
    assert opened(tmp_path, classes="5-9").class_names == ("5", "6", "7", "8", "9")
    assert opened(tmp_path, classes="3").class_names == ("1", "2", "3")
    assert opened(tmp_path, classes="12, 2").class_names == ("12", "2")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((b"caf\xe9", b"tea"), r"caf\\udce9' has a name that is no UTF-8"),
        ((b"a\nb", b"tea"), r"a\\nb' has a name with a line break or a control character"),
        (("café".encode(), b"cafe\xcc\x81"), "two class folders that read café"),
    ],
)
def test_names_that_no_table_could_show_are_refused_before_training(
    tmp_path: Path, names: tuple[bytes, ...], reason: str
) -> None:
    for name in names:
        fill(tmp_path, 2, (os.fsdecode(name),))
    with pytest.raises(ConfigError, match=reason):
        image_folder(tmp_path)


def test_one_name_written_in_two_ways_is_one_class_of_two_parts(tmp_path: Path) -> None:
    fill(tmp_path / "train", 3, ("café", "tea"))
    fill(tmp_path / "test", 2, ("café", "tea"))
    contents = image_folder(tmp_path).contents()
    assert contents.class_names == ("café", "tea")
    assert np.bincount(contents.labels).tolist() == [5, 5]


def test_equal_images_are_said(tmp_path: Path) -> None:
    fill(tmp_path / "train", 10)
    fill(tmp_path / "test", 4)
    for number in range(3):
        shutil.copy(tmp_path / "train/dark/00.png", tmp_path / "test/dark" / f"copy{number}.png")
    shutil.copy(tmp_path / "train/dark/01.png", tmp_path / "train/light/copy.png")
    assert opened(tmp_path).remarks == (
        "took train/ for training, test/ for test",
        "3 of 11 test images are among the training images too",
        "1 of 21 training images are there more than once",
        "2 images with the same pixels as one of another class",
    )


def test_images_that_are_all_alike_are_said(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    for path in tmp_path.rglob("*.png"):
        Image.new("RGB", (16, 16)).save(path)
    assert opened(tmp_path).remarks[0] == "only 1 of 20 images differ from each other"


def test_pixels_are_those_that_a_viewer_shows(tmp_path: Path) -> None:
    """Upright by the camera's note, and on white where transparent."""
    fill(tmp_path, 20)
    top = np.zeros((16, 16, 3), np.uint8)
    top[:8] = 200
    image = Image.fromarray(top)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "dark" / "x1.png", exif=exif)
    icon = np.zeros((16, 16, 4), np.uint8)
    icon[4:8, :, 3] = 255  # black bars on nothing
    Image.fromarray(icon).save(tmp_path / "dark" / "x2.png")
    palette = Image.fromarray(top[..., 0]).convert("P")
    palette.save(tmp_path / "dark" / "x3.png", transparency=0)
    found = opened(tmp_path)
    stored = found.images[np.flatnonzero(found.labels == 0)][-3:]
    np.testing.assert_array_equal(stored[0], top)
    expected = np.full((16, 16, 3), 255, np.uint8)
    expected[4:8] = 0
    np.testing.assert_array_equal(stored[1], expected)
    np.testing.assert_array_equal(stored[2][8:], 255)
    np.testing.assert_array_equal(stored[2][:8], 200)


def parts_of(data: Data) -> dict[bytes, str]:
    """Return the part of each image, by its pixels."""
    return {
        data.images[index].tobytes(): name
        for name in ("train", "validation", "test")
        for index in getattr(data, name)
    }


def test_images_that_are_added_move_no_other_into_another_part(tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        (tmp_path / "grown" / name).mkdir(parents=True)
        for number in range(110):  # the same bytes in each run of this test
            pixels = np.random.default_rng([number, label]).integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "grown" / name / f"{number:02}.ppm")
    shutil.copytree(tmp_path / "grown", tmp_path / "before")
    for number in range(10):
        (tmp_path / "before" / "dark" / f"{number:02}.ppm").unlink()
    before, after = parts_of(opened(tmp_path / "before")), parts_of(opened(tmp_path / "grown"))
    assert (len(before), len(after)) == (210, 220)
    assert {image: after[image] for image in before} == before
    assert set(before.values()) == {"train", "validation", "test"}


def test_images_that_are_tested_on_are_left_out_of_training(tmp_path: Path) -> None:
    fill(tmp_path / "train", 30)
    fill(tmp_path / "test", 4)
    for number in range(3):
        copied = tmp_path / "test/dark" / f"copy{number}.png"
        shutil.copy(tmp_path / "train/dark" / f"0{number}.png", copied)
    whole, alone = opened(tmp_path), opened(tmp_path, deduplicate=True)
    tested = {whole.images[index].tobytes() for index in whole.test}
    trained = [index for index in whole.train if whole.images[index].tobytes() in tested]
    assert trained
    assert alone.train.tolist() == sorted({*whole.train.tolist()} - {*trained})
    assert (alone.test.tolist(), alone.validation.tolist()) == (
        whole.test.tolist(),
        whole.validation.tolist(),
    )
    assert "3 of 11 test images are among the training images too" in whole.remarks
    left = f"{len(trained)} training images left out, because they look like one of"
    assert alone.remarks[-1].startswith(left)
    assert not [line for line in alone.remarks if "among the training images too" in line]
