"""What users and strangers give to an analysis of videos, fed by chance."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldtrial.config import ConfigError
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError
from fieldtrial.video.geometry import Zone, parse_lines, parse_zones
from fieldtrial.video.labelled.labels import read_labels
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.tracking.detection_table import read_detections
from tests.fuzz.test_parsers import ON_DISK, QUICK, mutated, near, values
from tests.video.tracking.scenes import CLASS_NAMES, scene
from tests.video.tracking.test_tables import VEHICLES, written

pytestmark = pytest.mark.fuzz
numbers = st.integers(-3, 12) | st.floats(-3, 12, width=16) | st.sampled_from(["", "nan", "1e999"])
places = st.lists(numbers, max_size=14).map(lambda some: ",".join(map(str, some)))
LABELS = {
    "images": [{"id": 1, "frame": 3}, {"id": 2, "file_name": "f_7.png"}],
    "categories": [{"id": 1, "name": "car"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "counts": {"a": {"left": 3, "right": [1.0]}},
    "counted": [0, 9],
}


def area(zone: Zone) -> float:
    pairs = zip(zone.points, (*zone.points[1:], zone.points[0]), strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


@QUICK
@given(name=st.text(max_size=6), points=places)
def test_places(name: str, points: str) -> None:
    text = f"{name}:{points}"
    try:
        (line,) = parse_lines([text])
        assert math.isfinite(line.distance((5.0, 5.0)))
    except ConfigError as error:
        assert len(error.problems) == 1
    try:
        (zone,) = parse_zones([text])
        assert area(zone) > 0
    except ConfigError as error:
        assert len(error.problems) == 1


@ON_DISK
@given(data=st.data())
def test_labels(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    whole = json.dumps(LABELS).encode()
    inner = st.sampled_from([key for key, value in LABELS.items() if isinstance(value, list)])
    deep = inner.flatmap(lambda key: st.lists(values).map(lambda some: LABELS | {key: some}))
    changed = (near(LABELS) | deep).map(lambda one: json.dumps(one).encode())
    path.write_bytes(data.draw(changed | mutated(whole)))
    _labels(path)


@ON_DISK
@given(text=st.text(max_size=60) | places.map(lambda some: some.replace(",", " ")))
def test_texts(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz-texts"
    folder.mkdir(exist_ok=True)
    (folder / "3.txt").write_text(text, "utf-8", "surrogatepass")
    _labels(folder)


def _labels(path: Path) -> Any:
    try:
        found = read_labels(path, CLASS_NAMES, (640, 480), network_names=CLASS_NAMES)
    except (ConfigError, UnreadableError) as error:
        assert str(path) in str(error)
    else:
        assert all((one.boxes[:, 2:] > one.boxes[:, :2]).all() for one in found.frames.values())


@ON_DISK
@given(data=st.data())
def test_detections(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz-detections"
    folder.mkdir(exist_ok=True)
    outcome, path = Outcome(Inside(folder)), folder / "detections.parquet"
    written(outcome, list(scene(VEHICLES, [0.0, 0.2, 0.4])))
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    try:
        read_detections(outcome, "a.mp4", CLASS_NAMES)
    except UnreadableError as error:
        assert str(path) in str(error)
