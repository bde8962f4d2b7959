import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import ConfigError
from fieldtrial.detection.boxes import Detections
from fieldtrial.video.labelled.agreement import agreement
from fieldtrial.video.labelled.labels import Labels, read_labels
from fieldtrial.video.moments import Crossing
from fieldtrial.video.tracking.detection_table import FrameRows
from tests.video.tracking.scenes import CAR, CLASS_NAMES, MIDDLE, TRUCK

SIZE = (640, 480)
CATEGORIES = [{"id": 7, "name": "car"}, {"id": 9, "name": "truck"}, {"id": 1, "name": "person"}]


def coco(path: Path, **keys: Any) -> Path:
    path.write_text(json.dumps({"categories": CATEGORIES, **keys}))
    return path


def rows(number: int, *found: tuple[float, int, int, tuple[float, ...]]) -> FrameRows:
    """Return a frame's detections: score, class, track, and left, top, right and bottom."""
    return FrameRows(
        number,
        number / 25,
        Detections(
            np.array([box for *_, box in found], np.float32).reshape(-1, 4),
            np.array([score for score, *_ in found], np.float32),
            np.array([label for _, label, *_ in found], np.int64),
        ),
        np.array([track for _, _, track, _ in found], np.int64),
    )


def crossing(time: float) -> Crossing:
    return Crossing("middle", "left", 1, CAR, time, (320.0, 9.0), (0.0, 0.0, 9.0, 9.0))


def test_boxes_and_counts_are_compared(tmp_path: Path) -> None:
    """Two frames. In the first a car is found, another is found as a truck, a third is missed. In
    the second the first is found again, and something that is none is found with a track, and
    another thing without one.
    """
    path = coco(
        tmp_path / "labels.json",
        images=[{"id": "a", "frame": 0}, {"id": "b", "file_name": "v2/frame_000050.png"}],
        annotations=[
            {"image_id": "a", "category_id": 7, "bbox": [10, 10, 100, 50], "track_id": 4},
            {"image_id": "a", "category_id": 7, "bbox": [200, 10, 100, 50]},
            {"image_id": "a", "category_id": 7, "bbox": [400, 10, 100, 50]},
            {"image_id": "a", "category_id": 1, "bbox": [400, 200, 20, 50]},
            {"image_id": "b", "category_id": 7, "bbox": [30, 10, 100, 50], "track_id": 4},
        ],
        counts={"middle": {"left": [1.0, 2.0, 5.0], "right": 2}},
        counted=[0, 10],
    )
    labels = read_labels(path, CLASS_NAMES, SIZE)
    found = {
        0: rows(0, (0.9, CAR, 1, (12, 12, 112, 60)), (0.8, TRUCK, 2, (200, 20, 300, 60))),
        50: rows(
            50,
            (0.9, CAR, 1, (30, 10, 130, 60)),
            (0.5, CAR, 3, (300, 300, 360, 360)),
            (0.2, CAR, -1, (500, 300, 560, 360)),
        ),
    }
    crossings = [crossing(time) for time in (1.5, 2.5, 7.0, 11.0)]
    result = agreement(labels, found, range(0, 100, 50), crossings, [MIDDLE], CLASS_NAMES)
    assert (result["frames"], result["shared_frames"], result["labelled"]) == (2, 2, 4)

    def numbers(pair: Any) -> list[tuple[int, int]]:
        return [(pair[name]["hits"], pair[name]["of"]) for name in ("precision", "recall")]

    assert numbers(result["tracked"]) == [(3, 4), (3, 4)]
    assert numbers(result["detections"]) == [(3, 5), (3, 4)]
    assert (result["right_class"]["hits"], result["right_class"]["of"]) == (2, 3)
    by_class = {one["name"]: numbers(one) for one in result["classes"]}
    assert by_class["car"] == [(2, 3), (2, 4)]
    assert by_class["truck"] == [(0, 1), (0, 0)]
    assert result["per_frame"] is not None
    assert (result["per_frame"]["error"], result["per_frame"]["absolute"]) == (0.0, 1.0)
    assert result["per_frame"]["high"] == pytest.approx(12.706205, rel=1e-6)  # t, 1, times 1
    left, right = result["counts"]
    assert (left["by_hand"], left["counted"], left["ratio"]) == (3, 3, 1.0)
    assert left["found"] is not None
    assert (left["found"]["hits"], left["found"]["of"]) == (2, 3)
    assert (right["direction"], right["by_hand"], right["counted"]) == ("right", 2, 0)
    assert right["found"] is None
    assert result["passed"] == {"boxes of the class person": 1}
    assert json.loads(json.dumps(result)) == result


def test_boxes_found_are_those_that_pycocotools_finds(tmp_path: Path) -> None:
    """On boxes drawn by chance, with crowds: the same numbers found and right at 0.5."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    draws = np.random.default_rng(0)
    images, annotations, results = list[Any](), list[Any](), list[Any]()
    found = dict[int, FrameRows]()
    for number in range(12):
        images.append({"id": number, "frame": number, "file_name": f"{number}.png"})
        corners = draws.uniform(0, 400, (8, 2))
        sizes = draws.uniform(40, 200, (8, 2))
        for place, (corner, size) in enumerate(zip(corners, sizes, strict=True)):
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": number, "category_id": 7},
                    **{"bbox": [*corner, *size], "area": float(size.prod()), "ignore": 0},
                    "iscrowd": int(place == 7),
                }
            )
        moved = corners + draws.normal(0, 25, (8, 2))
        scores = np.sort(draws.uniform(0.1, 1, 8).astype(np.float32))[::-1]
        boxes = np.concatenate([moved, moved + sizes], 1).astype(np.float32)
        found[number] = FrameRows(
            number, 0.0, Detections(boxes, scores, np.full(8, CAR)), np.arange(1, 9)
        )
        for box, score in zip(boxes.astype(float), scores, strict=True):
            bbox = [*box[:2], *(box[2:] - box[:2])]
            results.append(
                {"image_id": number, "category_id": 7, "bbox": bbox, "score": float(score)}
            )
    path = coco(tmp_path / "labels.json", images=images, annotations=annotations)
    known = COCO(path)
    judge = COCOeval(known, known.loadRes(results), "bbox")
    judge.params.iouThrs, judge.params.maxDets = np.array([0.5]), [100]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    cars = [one for one in judge.evalImgs if one is not None]
    kept = [~one["dtIgnore"][0].astype(bool) for one in cars]
    hits = sum(
        int((one["dtMatches"][0][keep] > 0).sum()) for one, keep in zip(cars, kept, strict=True)
    )
    labels = read_labels(path, CLASS_NAMES, SIZE)
    result = agreement(labels, found, range(12), [], [], CLASS_NAMES)["tracked"]
    assert 20 < hits < 80
    assert (result["recall"]["hits"], result["recall"]["of"]) == (hits, 84)
    assert result["precision"]["hits"] == hits
    assert result["precision"]["of"] == sum(int(keep.sum()) for keep in kept) < 96


def test_yolo_texts_are_the_same_labels(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("person\ncar\nmotorcycle\n")
    (tmp_path / "clip_7.txt").write_text(
        "1 0.5 0.5 0.25 0.5\n\n2 0.1 0.1 0.1 0.1\n0 0.2 0.2 0.1 0.1"
    )
    (tmp_path / "clip_8.txt").write_text("")
    (tmp_path / "counts.json").write_text('{"counts": {"middle": {"left": 3}}}')
    labels = read_labels(tmp_path, CLASS_NAMES, SIZE)
    assert sorted(labels.frames) == [7, 8]
    assert labels.frames[7].boxes == pytest.approx(
        np.array([[240, 120, 400, 360], [32, 24, 96, 72]])
    )
    assert labels.frames[7].labels.tolist() == [1, 2]
    assert len(labels.frames[8].boxes) == 0
    assert labels.counts == {"middle": {"left": 3}}
    assert labels.passed == {"boxes of the class person": 1}
    (tmp_path / "classes.txt").write_text("person\n\ncar\n")  # would be 1, or is it 2?
    with pytest.raises(ConfigError, match=r"classes\.txt, line 2: '': must be a class's name"):
        read_labels(tmp_path, CLASS_NAMES, SIZE)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(ConfigError, match="class 2; must be from 0 to 1"):
        read_labels(tmp_path, CLASS_NAMES, SIZE, network_names=("car", "bus"))


def test_frames_of_an_image_folder_have_names(tmp_path: Path) -> None:
    path = coco(tmp_path / "labels.json", images=[{"id": 1, "file_name": "x/b10.png"}])
    labels = read_labels(path, CLASS_NAMES, SIZE, numbers={"b9.png": 0, "b10.png": 1})
    assert list(labels.frames) == [1]
    with pytest.raises(ConfigError, match=r"no image of the folder is called 'x/b10\.png'"):
        read_labels(path, CLASS_NAMES, SIZE, numbers={"b9.png": 0})


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "neither labelled frames nor counts"),
    "no COCO": ({"images": 3}, "not labels in COCO's form"),
    "no number": ({"images": [{"id": 1, "file_name": "one.png"}]}, "has no frame"),
    "twice": ({"images": [{"id": 1, "frame": 3}, {"id": 2, "frame": 3}]}, "frame 3 is labelled"),
    "one id": (
        {"images": [{"id": 1, "frame": 3}, {"id": 1, "frame": 4}]},
        "two images have one id",
    ),
    "size": (
        {"images": [{"id": 1, "frame": 3, "width": 64, "height": 48}]},
        "labelled at 64×48 pixels; must be 640×480",
    ),
    "image": (
        {"annotations": [{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]}]},
        "annotations of images that are not there: id 1",
    ),
    "category": (
        {
            "images": [{"id": 1, "frame": 3}],
            "annotations": [{"image_id": 1, "category_id": 70, "bbox": [1, 2, 3, 4]}],
        },
        "annotations of categories that are not there: id 70",
    ),
    "no width": (
        {
            "images": [{"id": 1, "frame": 3}],
            "annotations": [{"image_id": 1, "category_id": 7, "bbox": [1, 2, 0, 4]}],
        },
        "frame 3: a box has no width",
    ),
    "stretch": ({"counts": {"a": {"left": 1}}, "counted": [5, 5]}, "must be a stretch"),
    "time": (
        {"counts": {"a": {"left": [1.0, 9.0]}}, "counted": [0, 5]},
        "'a' has 9 s; must be from 0 to 5 s",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_labels_are_refused(tmp_path: Path, name: str) -> None:
    keys, message = BAD[name]
    with pytest.raises(ConfigError, match=message) as caught:
        read_labels(coco(tmp_path / "labels.json", **keys), CLASS_NAMES, SIZE)
    assert str(tmp_path / "labels.json") in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        *("1 0.5 0.5 0.2", "1.5 0 0 1 1", "1 0.5 0.5 x 0.1", "-1 0 0 1 1", "inf 0 0 1 1"),
        *("1 0 0 nan 1", "1 320 240 64 48", "1 0.1 0.1 0.2 0.1 0.2 0.2"),  # pixels; a polygon
    ],
)
def test_bad_texts_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "1.txt").write_text(line)
    with pytest.raises(ConfigError, match=r"1\.txt: .* must be class, x, y, width and height"):
        read_labels(tmp_path, CLASS_NAMES, SIZE, network_names=("car", "bus"))


def test_what_was_not_looked_at_is_passed_over(tmp_path: Path) -> None:
    path = coco(tmp_path / "labels.json", images=[{"id": 1, "frame": 3}, {"id": 2, "frame": 4}])
    labels = read_labels(path, CLASS_NAMES, SIZE)
    result = agreement(labels, {}, range(0, 9, 2), [], [], CLASS_NAMES)
    assert result["frames"] == 1
    assert result["passed"] == {"frames that were not looked at": 1}
    with pytest.raises(ConfigError, match=r"none of the labelled frames \(3, 4, …\)"):
        agreement(labels, {}, [0], [], [], CLASS_NAMES)
    counted = Labels(counts={"far": {"left": 1}})
    with pytest.raises(ConfigError, match="there is no line 'far'; must be one of middle"):
        agreement(counted, {}, [0], [], [MIDDLE], CLASS_NAMES)
