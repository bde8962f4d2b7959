"""Mean average precision against pycocotools itself."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.tasks.detection.average_precision import (
    MOST,
    Found,
    mean_average_precision,
)

SIDE, IMAGES = 128, 12
CLASSES = ("a", "b", "c", "never there")


def made(seed: int) -> tuple[list[Found], Boxes]:
    """Random boxes, and detections near them, of wrong classes, and of nothing."""
    random = np.random.default_rng(seed)
    found, corners, labels = list[Found](), list[np.ndarray](), list[np.ndarray]()
    for _ in range(IMAGES):
        count = int(random.integers(0, 6))
        starts = random.uniform(0, 80, (count, 2))
        own = np.concatenate([starts, starts + random.uniform(8, 48, (count, 2))], 1)
        kinds = random.integers(0, 3, count)
        near = own + random.normal(0, 3, own.shape)
        guessed = np.where(random.random(count) < 0.8, kinds, (kinds + 1) % 3)
        wrong = random.uniform(0, 60, (130, 4)) + np.array([0, 0, 64, 64])
        scores = np.concatenate([random.uniform(0.2, 1, count), random.uniform(0, 0.6, 130)])
        order = np.argsort(-scores, kind="stable")
        found.append(
            Found(
                np.concatenate([near, wrong])[order].astype(np.float32),
                scores[order].astype(np.float32),
                np.concatenate([guessed, random.integers(0, 4, 130)])[order],
            )
        )
        corners.append(own)
        labels.append(kinds)
    crowds = random.random(sum(map(len, labels))) < 0.15
    boxes = Boxes(
        starts=np.cumsum([0, *map(len, labels)]),
        corners=(np.concatenate(corners) / SIDE).astype(np.float32),
        labels=np.concatenate(labels),
        crowds=crowds,
        class_names=CLASSES,
    )
    return found, boxes


def by_pycocotools(found: list[Found], boxes: Boxes, index: np.ndarray) -> tuple[float, float]:
    annotations: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    for number, one in zip(index.tolist(), found, strict=True):
        part = boxes.of(number)
        rows = zip(boxes.corners[part], boxes.labels[part], boxes.crowds[part], strict=True)
        for corners, label, crowd in rows:
            left, top, right, bottom = (SIDE * corners.astype(float)).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": int(label) + 1,
                    "bbox": [left, top, right - left, bottom - top], "iscrowd": int(crowd),
                    "area": (right - left) * (bottom - top),
                }
            )  # fmt: skip
        for (left, top, right, bottom), score, label in zip(
            one.corners.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True
        ):
            bbox = [left, top, right - left, bottom - top]
            answers.append(
                {"image_id": number, "category_id": label + 1, "bbox": bbox, "score": score}
            )
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in index.tolist()],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(answers), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_what_pycocotools_says(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    found, boxes = made(seed)
    assert min(len(one.scores) for one in found) > MOST
    index = np.array([7, 2, 3, 5, 11, 0, 1, 4])
    chosen = [found[number] for number in index]
    values = mean_average_precision(chosen, boxes, index, SIDE)
    expected = by_pycocotools(chosen, boxes, index)
    capsys.readouterr()
    assert (values["map"], values["map50"]) == pytest.approx(expected, abs=1e-6)
    assert 0.1 < values["map"] < values["map50"] < 0.95


def test_images_without_a_box_have_none() -> None:
    found, boxes = made(0)
    empty = np.array([i for i in range(IMAGES) if boxes.of(i).stop == boxes.of(i).start])
    assert len(empty)
    values = mean_average_precision([found[i] for i in empty], boxes, empty, SIDE)
    assert values == {"map": 0, "map50": 0}
