"""Strangers' labels of boxes, fed by chance: they are read, or refused with what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fieldtrial.config import ConfigError
from fieldtrial.training.data.boxes.box_folder import box_folder
from fieldtrial.training.data.boxes.stored import BoxAnnotations
from tests.fuzz.test_parsers import mutated, near
from tests.training.data.boxes.labels import CLASSES, coco_of, picture

pytestmark = pytest.mark.fuzz
ON_DISK = settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))
COCO = coco_of({"a.png": [(0, 1, 1, 8, 8)], "b.png": [(1, 2, 2, 9, 9), (0, 30, 5, 20, 9)]})
LINES = b"0 0.5 0.5 0.25 0.25\n1 0.1 0.2 0.3 0.4\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz-boxes")
    for kind in ("coco", "yolo"):
        for name in ("a.png", "b.png"):
            picture(root / kind / "images" / name)
    (root / "yolo" / "labels").mkdir()
    (root / "yolo" / "classes.txt").write_text("\n".join(CLASSES))
    (root / "yolo" / "labels" / "b.txt").write_bytes(LINES)
    return root


def check(root: Path) -> None:
    try:
        contents = box_folder(root).contents()
    except ConfigError as error:
        assert str(root) in str(error)
        return
    assert isinstance(contents.annotations, BoxAnnotations)
    boxes = contents.annotations.boxes
    assert boxes.starts[-1] == len(boxes.labels) == len(boxes.corners)
    assert np.isfinite(boxes.corners).all()
    assert ((boxes.corners >= 0) & (boxes.corners <= 1)).all()
    assert ((boxes.labels >= 0) & (boxes.labels < len(boxes.class_names))).all()


@ON_DISK
@given(data=st.data())
def test_coco(folder: Path, data: st.DataObject) -> None:
    objects = near(COCO).map(lambda one: json.dumps(one).encode())
    text = data.draw(objects | mutated(json.dumps(COCO).encode()))
    (folder / "coco" / "train.json").write_bytes(text)
    check(folder / "coco")


@ON_DISK
@given(text=mutated(LINES) | st.binary(max_size=60))
def test_yolo(folder: Path, text: bytes) -> None:
    (folder / "yolo" / "labels" / "a.txt").write_bytes(text)
    check(folder / "yolo")
