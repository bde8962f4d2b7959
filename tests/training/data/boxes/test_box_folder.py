"""Folders of labelled boxes: what is read of COCO's and YOLO's files, passed over and refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fieldtrial.config import ConfigError
from fieldtrial.training.data.boxes.box_folder import box_folder
from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.data.boxes.stored import BoxAnnotations
from fieldtrial.training.data.dataset import PART_NAMES, Contents
from tests.training.data.boxes.labels import (
    CLASSES,
    HEIGHT,
    WIDTH,
    boxes_of,
    coco_of,
    picture,
    write_coco,
    write_yolo,
)

PARTS = {"train": 7, "val": 3, "test": 2}


def read(root: Path) -> tuple[Contents, Boxes]:
    contents = box_folder(root).contents()
    assert isinstance(contents.annotations, BoxAnnotations)
    return contents, contents.annotations.boxes


def counts(contents: Contents) -> dict[str, int]:
    numbers = np.bincount(contents.parts, minlength=3).tolist()
    return {name: number for name, number in zip(PART_NAMES, numbers, strict=True) if number}


def in_pixels(boxes: Boxes, index: int) -> np.ndarray:
    """Left, top, width and height of an image's boxes."""
    left, top, right, bottom = (boxes.corners[boxes.of(index)] * ([WIDTH, HEIGHT] * 2)).T
    return np.stack([left, top, right - left, bottom - top], 1)


def test_coco_is_read_as_its_own_library_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_coco(tmp_path, PARTS)
    contents, boxes = read(tmp_path)
    assert counts(contents) == {"training": 7, "validation": 3, "test": 2}
    assert boxes.class_names == CLASSES
    index = {contents.where(number): number for number in range(len(contents.labels))}
    for part, count in PARTS.items():
        theirs = COCO(str(tmp_path / "annotations" / f"instances_{part}2017.json"))
        assert len(theirs.imgs) == count
        for image in theirs.loadImgs(theirs.getImgIds()):
            number = index[str(tmp_path / "images" / part / image["file_name"])]
            known = theirs.loadAnns(theirs.getAnnIds(image["id"]))
            names = [theirs.cats[one["category_id"]]["name"] for one in known]
            assert [CLASSES[label] for label in boxes.labels[boxes.of(number)]] == names
            assert np.allclose(in_pixels(boxes, number), [one["bbox"] for one in known], atol=1e-4)
    capsys.readouterr()


@pytest.mark.parametrize("inside", ["images/{}", "{}/images", "{}"])
def test_yolo_texts_beside_or_in_labels(tmp_path: Path, inside: str) -> None:
    write_yolo(tmp_path, PARTS, inside)
    contents, boxes = read(tmp_path)
    assert counts(contents) == {"training": 7, "validation": 3, "test": 2}
    for number in range(len(contents.labels)):
        known = boxes_of(int(Path(contents.where(number)).stem[-2:]))
        assert boxes.labels[boxes.of(number)].tolist() == [label for label, *_ in known]
        assert np.allclose(in_pixels(boxes, number), [bbox for _, *bbox in known], atol=1e-4)


def test_parts_are_known_by_folders_too_and_validation_may_have_to_be_the_test_set(
    tmp_path: Path,
) -> None:
    for part in ("train", "valid"):
        names = {f"{number}.png": boxes_of(number) for number in range(4)}
        for name in names:
            picture(tmp_path / part / name, seed=len(part))
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(coco_of(names)))
    contents, _ = read(tmp_path)
    assert counts(contents) == {"training": 4, "test": 4}


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    images: dict[str, Any] = {
        "a.png": [(0, 1, 1, 8, 8), (0, 1, 1, 8, 8), (1, 1, 1, 8, 8)],  # one twice
        "b.png": [(0, 35, 5, 10, 10), (0, 50, 5, 10, 10), (1, 5, 5, 0, 10)],  # cut, outside, empty
        "c.png": [],
    }
    for name in (*images, "unlisted.png"):
        picture(tmp_path / "images" / name)
    coco = coco_of(images)
    coco["annotations"] += [{"image_id": 100, "category_id": 3}]
    crowd = {"image_id": 102, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    coco["annotations"].append(crowd)
    (tmp_path / "labels.json").write_text(json.dumps(coco))
    (tmp_path / "captions.json").write_text('{"annotations": []}')
    contents, boxes = read(tmp_path)
    assert contents.remarks == (
        "3 boxes: 2 car, 1 bus",
        "passed over 1 image that no file of labels names",
        "passed over 1 annotation without a box",
        "passed over 2 boxes without area, or outside of the image",
        "passed over 1 duplicate box",
        "cut 1 box at the border of the image",
        "passed over 1 JSON file without boxes of COCO's kind",
    )
    assert in_pixels(boxes, 1).tolist() == [[35, 5, 5, 10]]
    assert boxes.crowds.tolist() == [False, False, False, True]


def test_labels_behind_links_are_read_and_their_changes_noticed(tmp_path: Path) -> None:
    for write, name in ((write_yolo, "labels"), (write_coco, "annotations")):
        root, elsewhere = tmp_path / f"with {name}", tmp_path / f"elsewhere {name}"
        write(root, {"train": 4, "test": 2})
        (root / name).rename(elsewhere)
        (root / name).symlink_to(elsewhere)
        before = box_folder(root)
        assert counts(before.contents()) == {"training": 4, "test": 2}
        os.utime(min(elsewhere.rglob("*train*.*")), (1, 1))
        assert box_folder(root).fingerprint != before.fingerprint


def test_texts_without_images_and_images_without_texts_are_counted(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"train": 4})
    (tmp_path / "labels" / "train" / "train00.txt").unlink()
    (tmp_path / "labels" / "train" / "train01.txt").write_text("\n")
    (tmp_path / "labels" / "train" / "gone.txt").write_text("0 0.5 0.5 0.1 0.1")
    picture(tmp_path / "preview.png")
    assert read(tmp_path)[0].remarks[1:] == (
        "1 image without a box (background alone)",
        "1 image without a file of labels, taken as without a box",
        "passed over 1 file of labels without an image",
        "passed over 1 image that no file of labels names",
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.5 0.5 0.1 0.1", "there is no such class; classes are numbered 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "there is no such class"),
        ("0.5 0.5 0.5 0.1 0.1", "there is no such class"),
        ("0 0.5 0.5 0.1", "must be five numbers"),
        ("0 0.1 0.2 0.3 0.4 0.5 0.6", "must be five numbers"),
        ("car 0.5 0.5 0.1 0.1", "must be five numbers"),
        ("0 nan 0.5 0.1 0.1", "must be given in shares"),
        ("0 120 80 40 30", "must be given in shares"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    write_yolo(tmp_path, {"train": 4})
    file = tmp_path / "labels" / "train" / "train02.txt"
    file.write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(ConfigError, match=rf"{file}, line 2: '{line}': .*{reason}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": [{"id": 1}]}, "no COCO labels of boxes: .*missing required field"),
        ({"annotations": [{"image_id": 9, "category_id": 3}]}, "does not name: id 9"),
        ({"annotations": [{"image_id": 100, "category_id": 4}]}, "unknown categories: id 4"),
        ({"annotations": [{"image_id": 100, "category_id": 3, "bbox": [1, 2, 3]}]}, "length 4"),
        ({"categories": []}, "has no categories"),
        ({"categories": [{"id": 3, "name": "a"}, {"id": 7, "name": "a"}]}, "one id or one name"),
        ({"categories": [{"id": 3, "name": "a\n"}]}, "a line break or a control character"),
        (
            {"images": [{"id": 100, "file_name": "../../x.png", "width": 4, "height": 4}]},
            r"names 1 image that cannot be found: \.\./\.\./x\.png",
        ),
    ],
)
def test_wrong_coco_files_are_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path.parent / "x.png")
    path = tmp_path / "train.json"
    path.write_text(json.dumps(coco_of({"a.png": [(0, 1, 1, 5, 5)]}) | change))
    with pytest.raises(ConfigError, match=rf"{path}: .*{reason}"):
        read(tmp_path)


def test_labels_of_other_sizes_than_the_images_are_refused(tmp_path: Path) -> None:
    """As where a camera noted that it was held upright, and the tool for labels did not."""
    write_coco(tmp_path, {"train": 3})
    image = Image.open(tmp_path / "images" / "train" / "train01.png")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "images" / "train" / "train01.png", exif=exif)
    contents, _ = read(tmp_path)
    assert contents.annotations
    assert contents.annotations.misfit(0, (WIDTH, HEIGHT)) == ""
    assert contents.annotations.misfit(1, (HEIGHT, WIDTH)) == (
        "its boxes are for an image of 40 × 20 pixels, and upright, as a viewer shows it, it has"
        " 20 × 40"
    )


def test_folders_that_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no image; it must hold images and their boxes"):
        box_folder(tmp_path)
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(ConfigError, match=f"no file of class names; write {tmp_path}/classes.txt"):
        read(tmp_path)
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(ConfigError, match=r"train\.json: is not JSON with COCO's images"):
        read(tmp_path)
    (tmp_path / "train.json").unlink()
    (tmp_path / "classes.txt").write_text("car\ncar\n")
    with pytest.raises(ConfigError, match=r"classes\.txt: a name is there twice"):
        read(tmp_path)
    (tmp_path / "classes.txt").write_text("car\n")
    with pytest.raises(ConfigError, match=f"would be {tmp_path}/labels/a.txt"):
        read(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("")
    with pytest.raises(ConfigError, match="no training image has a box"):
        read(tmp_path)
    for name in ("train.json", "training_new.json"):
        (tmp_path / name).write_text(json.dumps(coco_of({"a.png": [(0, 1, 1, 5, 5)]})))
    with pytest.raises(ConfigError, match="two files of labels for one part"):
        read(tmp_path)
