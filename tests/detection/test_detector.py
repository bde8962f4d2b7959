"""The detector: OpenCV's boxes, whatever else is in the batch; bad files are refused."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.detection.boxes import Detections
from fieldtrial.detection.detector import Detector
from fieldtrial.detection.settings import DetectorSettings, located
from fieldtrial.detection.suppression import suppress
from tests.detection.darknet_files import (
    EVERY_LAYER,
    REAL,
    needs_real,
    random_network,
    weights_bytes,
)

CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path: Path) -> DetectorSettings:
    """A network of two classes that finds much in noise."""
    (tmp_path / "net.cfg").write_text(EVERY_LAYER)
    (tmp_path / "net.weights").write_bytes(weights_bytes(random_network()))
    (tmp_path / "net.names").write_text("cat\nbig dog\n\n")
    return DetectorSettings(
        weights=str(tmp_path / "net.weights"),
        config=str(tmp_path / "net.cfg"),
        names=str(tmp_path / "net.names"),
        classes=(),
        confidence=0.3,
        batch_size=3,
    )


def noise(
    count: int, height: int, width: int
) -> list["np.ndarray[tuple[int, ...], np.dtype[np.uint8]]"]:
    return list(np.random.default_rng(1).integers(0, 256, (count, height, width, 3), np.uint8))


def equal(one: Detections, other: Detections) -> bool:
    columns = ("boxes", "scores", "labels")
    return all(np.array_equal(getattr(one, c), getattr(other, c)) for c in columns)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_images_detections_do_not_depend_on_the_others(
    precision: str, threads: int, settings: DetectorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    detector = Detector(replace(settings, precision=precision), CPU)  # type: ignore[arg-type]
    images = [*noise(5, 50, 80), *noise(2, 80, 50)]
    alone = [detector.detect([image])[0] for image in images]
    assert sum(map(len, alone)) > 20
    for order in ([6, 0, 1, 2, 5, 3, 4], [4, 3, 2], [2, 6, 3]):
        together = detector.detect([images[n] for n in order])
        assert all(equal(found, alone[n]) for found, n in zip(together, order, strict=True))
    assert detector.detect([]) == []


def test_detections_are_ordered_inside_the_image_and_of_the_classes_asked_for(
    settings: DetectorSettings,
) -> None:
    image = noise(1, 50, 80)[0]
    every = Detector(settings, CPU)
    assert every.class_names == ("cat", "big dog")
    found = every.detect([image])[0]
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() >= 0.3
    assert set(found.labels) == {0, 1}
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [80, 50, 80, 50]).all()
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
    dogs = Detector(replace(settings, classes=("big dog",)), CPU)
    assert dogs.class_names == ("big dog",)
    assert set(dogs.detect([image])[0].labels) == {0}
    certain = Detector(replace(settings, confidence=0.999), CPU).detect([image])[0]
    assert (len(certain), certain.boxes.shape) == (0, (0, 4))


def test_an_object_has_one_box_and_a_metric_gets_one_for_each_class() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 4, 10], [50, 0, 60, 10]])
    scores, labels = torch.tensor([0.5, 0.9, 0.8, 0.1]), torch.tensor([0, 1, 0, 0])
    assert suppress(boxes, scores, None, 0.45).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, labels, 0.45).tolist() == [1, 2, 0, 3]
    assert suppress(boxes, scores, labels, 0.3).tolist() == [1, 2, 3]


@needs_real
def test_the_test_picture_has_the_boxes_that_opencv_gives() -> None:
    files = REAL / "yolo-fastest-1.1-xl.cfg", REAL / "yolo-fastest-1.1-xl.weights"
    image = np.asarray(Image.open(REAL / "dog.jpg").convert("RGB"))
    detector = Detector(
        DetectorSettings(
            str(files[1]), str(files[0]), str(REAL / "coco.names"), classes=(), confidence=0.35
        ),
        CPU,
    )
    found = detector.detect([image])[0]
    names = [detector.class_names[label] for label in found.labels]
    assert names == ["dog", "car", "bicycle"]
    # 768 × 576 pixels at 320 are 320 × 240, with eight rows of grey above and below.
    box = cv2.copyMakeBorder(
        cv2.resize(image, (320, 240)), 8, 8, 0, 0, cv2.BORDER_CONSTANT, value=(128, 128, 128)
    )
    opencv = cv2.dnn.readNetFromDarknet(*map(str, files))
    opencv.setInput(cv2.dnn.blobFromImage(box, 1 / 255))
    rows = np.concatenate(opencv.forward(opencv.getUnconnectedOutLayersNames()))
    scores = rows[:, 5:].max(1)
    x, y, width, height = (rows[:, :4] * [320, 256, 320, 256]).T
    corners = np.stack([x - width / 2, y - height / 2 - 8, width, height], 1) * 2.4
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), 0.35, 0.45)
    assert [detector.class_names[rows[n, 5:].argmax()] for n in kept] == names
    theirs = np.concatenate([corners[kept, :2], corners[kept, :2] + corners[kept, 2:]], 1)
    np.testing.assert_allclose(found.scores, scores[kept], atol=0.01)
    np.testing.assert_allclose(found.boxes, theirs.clip(0, [768, 576, 768, 576]), atol=1.5)


def test_bf16_finds_nearly_the_same(settings: DetectorSettings) -> None:
    images = noise(3, 64, 96)
    exact = Detector(settings, CPU).raw_outputs(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    )
    half = Detector(replace(settings, precision="bf16"), CPU)
    outputs = half.raw_outputs(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
    for one, other in zip(exact, outputs, strict=True):
        assert other.dtype == torch.float32
        error = (one - other).abs().mean() / one.std()
        assert 1e-5 < error < 0.02


def test_missing_weights_are_told_with_where_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "data/weights/yolov3-tiny.weights"
    with pytest.raises(ConfigError) as raised:
        located(DetectorSettings(config="yolov3-tiny", names="a.names"))
    names, weights = raised.value.problems
    assert names == f"names = 'a.names': there is no file at {tmp_path}/a.names"
    assert f"looked for {tmp_path}/yolov3-tiny.weights and {place}. Fetch https://" in weights
    assert "(35,434,956 bytes)" in weights
    place.parent.mkdir(parents=True)
    place.touch()
    assert located(DetectorSettings(config="yolov3-tiny")).weights == str(place)
    with pytest.raises(ConfigError, match=r"weights = 'my.weights': no such file; looked for /"):
        located(DetectorSettings(weights="my.weights"))
    with pytest.raises(ConfigError, match=r"config = 'x.cfg'.*built in are yolov3, yolov3-tiny"):
        located(DetectorSettings(config="x.cfg"))


def test_bad_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        DetectorSettings(
            confidence=0,
            overlap=1.5,
            image_size=5000,
            batch_size=0,
            precision="fp64",  # type: ignore[arg-type]
            classes=("car", "car"),
        )
    assert len(raised.value.problems) == 6


def test_names_and_sizes_that_do_not_fit_the_network_are_refused(
    settings: DetectorSettings, tmp_path: Path
) -> None:
    def refusal(**changes: object) -> str:
        with pytest.raises(ConfigError) as raised:
            Detector(replace(settings, **changes), CPU)  # type: ignore[arg-type]
        return str(raised.value)

    assert "the network has 2 classes, and there are 80 names (COCO)" in refusal(names=None)
    assert "classes = van: the network has no such class; choices: cat, big dog" in refusal(
        classes=("van", "cat")
    )
    assert "image_size = 65: must be a multiple of 4, the network's stride" in refusal(
        image_size=65
    )
    names = tmp_path / "bad.names"
    names.write_text("cat\n\ncat\n")
    text = refusal(names=str(names))
    assert f"{names}, line 2: '': must be a class's name" in text
    assert f"{names}, line 3: 'cat': is also in line 1" in text
