"""Labelled boxes as a trial has them: placed in squares, cut, chosen by class, and recorded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fieldtrial.training.data.load as data_module
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data.boxes.labelled import MOST_BOXES, Labels
from fieldtrial.training.data.boxes.load import BoxData, load_boxes
from fieldtrial.training.data.load import load
from fieldtrial.training.inputs.changes import data_changes
from fieldtrial.training.inputs.record import data_inputs
from tests.training.data.boxes.labels import boxes_of, coco_of, picture, write_coco, write_yolo


def opened(root: Path, **values: Any) -> BoxData:
    return load_boxes(TrainConfig(dataset=f"boxes:{root}", **values), 64)


def test_boxes_lie_where_their_objects_are_in_the_squares(tmp_path: Path) -> None:
    """Each box is a white rectangle on black: the white pixels of the square are the right ones."""
    known = {}
    for number, (width, height) in enumerate([(100, 50), (50, 100), (30, 30), (301, 97)]):
        pixels = np.zeros((height, width, 3), np.uint8)
        left, top, right, bottom = width // 5, height // 4, width // 2, height * 3 // 4
        pixels[top:bottom, left:right] = 255
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        known[f"{number}.png"] = [(0, left, top, right - left, bottom - top)]
    coco = coco_of(known)
    for entry, (width, height) in zip(
        coco["images"], [(100, 50), (50, 100), (30, 30), (301, 97)], strict=True
    ):
        entry |= {"width": width, "height": height}
    (tmp_path / "labels.json").write_text(json.dumps(coco))
    data = opened(tmp_path, validation_fraction=0.3)
    targets = data.targets(np.arange(4))
    for image, (label, x, y, width, height) in zip(data.images, targets[:, 0], strict=True):
        rows, columns = np.nonzero((image > 190).all(2))
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        found = 64 * np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        assert label == 0
        assert np.abs(found - expected).max() <= 1
    greys = [int(image[0, 0].max()) for image in data.images]
    assert greys == [128, 128, 0, 128]  # the third fills its square


def test_targets_are_padded_without_crowds(tmp_path: Path) -> None:
    write_coco(tmp_path, {"train": 4, "test": 2})
    path = tmp_path / "annotations" / "instances_train2017.json"
    coco = json.loads(path.read_text())
    crowd = {"image_id": 100, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    path.write_text(json.dumps(coco | {"annotations": [*coco["annotations"], crowd]}))
    data = opened(tmp_path, validation_fraction=0.3)
    assert data.boxes.counts() == [3, 6]
    assert data.class_counts() == {"car": 3, "bus": 6}
    targets = data.targets(np.array([2, 3]))  # behind the two test images
    assert targets.shape == (2, 2, 5)
    assert targets.dtype == np.float32
    assert targets[:, :, 0].tolist() == [[0, 1], [1, -1]]
    left, _, width, _ = boxes_of(1)[0][1:]
    assert targets[1, 0, 1] == pytest.approx((left + width / 2) / 40)
    assert targets[1, 0, 3] == pytest.approx(width / 40)
    assert data.targets(np.array([], np.int64)).shape == (0, 1, 5)


def test_some_of_the_classes(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"train": 6, "test": 2})
    data = opened(tmp_path, classes="bus,car")
    assert (data.class_names, data.shape.classes) == (("bus", "car"), 2)
    assert [label for label, *_ in data.targets(np.array([0]))[0].tolist()] == [1, 0]
    alone = load_boxes(TrainConfig(dataset=f"boxes:{tmp_path}", classes="car,bus"), 64)
    assert alone.class_counts() == {"car": 4, "bus": 7}
    with pytest.raises(ConfigError, match="has no plane; it has car, bus"):
        opened(tmp_path, classes="car,plane")


def test_parts_are_cut_by_what_images_contain(tmp_path: Path) -> None:
    """Other names, other labels and other formats move no image into another part."""
    write_yolo(tmp_path / "one", {"all": 20}, "images")
    write_yolo(tmp_path / "other", {"all": 20}, "images")
    (tmp_path / "other" / "labels" / "all00.txt").write_text("")
    one, other = opened(tmp_path / "one"), opened(tmp_path / "other")
    assert [len(part) for part in (one.train, one.validation, one.test)] == [14, 2, 4]
    for mine, theirs in ((one.train, other.train), (one.test, other.test)):
        assert np.array_equal(mine, theirs)
    assert one.digest != other.digest
    again = opened(tmp_path / "one", train_fraction=0.5)
    assert len(again.train) == 7
    assert set(again.train) < set(one.train)


def test_a_change_of_boxes_is_a_change_of_the_data(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"train": 6, "test": 2})
    before = data_inputs(opened(tmp_path))
    (tmp_path / "labels" / "train" / "train02.txt").write_text("0 0.5 0.5 0.25 0.25")
    data_module._load.cache_clear()  # as a new process would start
    data_module._open.cache_clear()
    after = data_inputs(opened(tmp_path))
    assert before["data"] != after["data"]
    image = tmp_path / "images" / "train" / "train02.png"
    assert data_changes(before, after) == f"1 image with other boxes ({image})"
    assert before["recipe"] == "letterboxed to a square of 64 pixels"


def test_copies_between_parts_are_told(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"train": 6, "test": 2})
    copy = (tmp_path / "images" / "train" / "train00.png").read_bytes()
    (tmp_path / "images" / "test" / "test00.png").write_bytes(copy)
    among = "1 of 2 test images are among the training images too"
    assert among in opened(tmp_path).remarks
    assert len(opened(tmp_path, deduplicate=True).train) + len(opened(tmp_path).validation) == 5


def test_damaged_images_and_other_sizes_are_named(tmp_path: Path) -> None:
    write_coco(tmp_path, {"train": 4})
    folder = tmp_path / "images" / "train"
    (folder / "train00.png").write_bytes((folder / "train00.png").read_bytes()[:90])
    picture(folder / "train01.png", size=(20, 40))
    with pytest.raises(ConfigError) as error:
        opened(tmp_path)
    assert [Path(line.split(": ")[1].split()[0]).name for line in error.value.problems] == [
        "train00.png",
        "train01.png",
    ]
    assert "its boxes are for an image of 40 × 20 pixels" in error.value.problems[1]


def test_data_sets_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"train": 6, "test": 2})
    for dataset in ("shapes", f"boxes:{tmp_path}"):
        with pytest.raises(ConfigError, match="its images are labelled for task = detection"):
            load(TrainConfig(dataset=dataset), 32)
    with pytest.raises(ConfigError, match="needs boxes:PATH, or shapes"):
        load_boxes(TrainConfig(dataset="digits"), 32)
    with pytest.raises(ConfigError, match=r"looked for /no\. It must hold images .*COCO's JSON"):
        load_boxes(TrainConfig(dataset="boxes:/no"), 32)


def test_an_image_has_so_many_boxes_at_most() -> None:
    labels = Labels(("car",))
    corners = np.tile([0.1, 0.1, 0.2, 0.2], (MOST_BOXES + 1, 1))
    labels.add(
        Path("a"), 0, None, corners, np.zeros(len(corners), int), np.zeros(len(corners), bool)
    )
    assert labels.problems == ["a: 1,001 boxes; must be at most 1,000"]


def test_the_made_up_shapes_are_where_their_boxes_say() -> None:
    """A shape's pixels are darker or lighter than all of the noise."""
    data = load_boxes(TrainConfig(dataset="shapes"), 96)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [72, 8, 20]
    assert min(data.boxes.counts()) > 20
    for index in range(10):
        drawn = (data.images[index] < 60).all(2) | (data.images[index] > 150).all(2)
        for _, x, y, width, height in data.targets(np.array([index]))[0]:
            left, top = round(96 * (x - width / 2)), round(96 * (y - height / 2))
            right, bottom = round(96 * (x + width / 2)), round(96 * (y + height / 2))
            rows, columns = np.nonzero(drawn[top:bottom, left:right])
            assert (rows.min(), columns.min()) == (0, 0)
            assert (rows.max() + 1, columns.max() + 1) == (bottom - top, right - left)
            drawn[top:bottom, left:right] = False
        assert not drawn.any()
