"""Detection as a task of training: learned, resumed, scored, and used by the detector."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.detection.detector import Detector
from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.disk.files import write_json
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.boxes.load import load_boxes
from fieldtrial.training.data.boxes.shapes import CLASSES
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.scoring.evaluation import evaluate_elsewhere, evaluate_run
from tests.training.darknets import write_description
from tests.training.data.boxes.labels import write_yolo


def config_of(folder: Path, **values: object) -> TrainConfig:
    known = {
        "task": "detection", "model": f"darknet:{write_description(folder)}", "dataset": "shapes",
        "select": "validation_map", "image_size": 96, "epochs": 1, "batch_size": 16,
    }  # fmt: skip
    return TrainConfig.from_dict(known | values)


def trained(folder: Path, config: TrainConfig, test: bool = False) -> Run:
    run = Run.create(folder, config)
    list(train(Attempt(run, config, test=test)))
    return run


def write_shapes(
    root: Path, images: np.ndarray, targets: np.ndarray, names: Sequence[str] = CLASSES
) -> None:
    """Write the images with their boxes, as YOLO's texts, as each of the three parts."""
    (root / "classes.txt").parent.mkdir()
    (root / "classes.txt").write_text("\n".join(names))
    for part in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for number, (image, boxes) in enumerate(zip(images, targets, strict=True)):
            Image.fromarray(image).save(root / "images" / part / f"{number}.png")
            lines = [
                f"{names.index(CLASSES[int(label)])} {x} {y} {width} {height}"
                for label, x, y, width, height in boxes.tolist()
                if label >= 0
            ]
            (root / "labels" / part / f"{number}.txt").write_text("\n".join(lines))


def test_eight_images_are_learned_by_heart(tmp_path: Path) -> None:
    """Trained, validated and tested on the same eight images, all objects are found."""
    folder = tmp_path / "eight"
    shapes = load_boxes(TrainConfig(dataset="shapes"), 96)
    index = np.arange(8)
    targets = shapes.targets(index)
    write_shapes(folder, shapes.images[index], targets)
    values = {"epochs": 45, "batch_size": 8, "lr": 0.02, "schedule": "cosine", "patience": None}
    config = config_of(tmp_path, dataset=f"boxes:{folder}", **values)
    run = trained(tmp_path / "run", config, test=True)
    result = run.result()
    assert result
    assert result["test_map50"] > 0.9
    assert result["test_map"] == result["validation_map"] > 0.5
    assert run.records()[0]["validation_map50"] < 0.2  # it has learned
    assert "train_accuracy" not in run.records()[0]

    found = np.load(str(run.predictions_path("test")), allow_pickle=False)
    assert len(found["index"]) == 8
    assert found["starts"][-1] == len(found["boxes"]) == len(found["score"]) == len(found["label"])
    again = evaluate_run(run, World(), ("test",))
    assert (again["test_map"], again["test_loss"]) == (result["test_map"], result["test_loss"])

    detector = Detector(DetectorSettings(weights=str(run.path), confidence=0.05))
    assert (detector.class_names, detector.image_size) == (CLASSES, (96, 96))
    others = tuple(f"my {name}" for name in CLASSES)
    (tmp_path / "my.names").write_text("\n".join(others))
    renamed = DetectorSettings(weights=str(run.path), names=str(tmp_path / "my.names"))
    assert Detector(renamed).class_names == others
    test = load_boxes(config, 96).images[found["index"]]
    for number, one in enumerate(detector.detect(list(test))):
        best = found["starts"][number]  # the first has the highest score
        assert one.labels[0] == found["label"][best]
        assert one.scores[0] == pytest.approx(found["score"][best], abs=1e-3)
        assert one.boxes[0] == pytest.approx(found["boxes"][best], abs=0.1)


def test_a_resumed_trial_ends_bit_for_bit_as_an_undisturbed_one(
    tmp_path: Path,
    train_until: Callable[..., list[Record]],
    numbers: Callable[[Run], list[dict[str, Any]]],
) -> None:
    config = config_of(
        tmp_path, epochs=2, train_fraction=0.3, batch_size=5, freeze="backbone",
        augmentation=["horizontal_flip", "random_resized_crop", "color_jitter"],
    )  # fmt: skip
    runs = [Run.create(tmp_path / name, config) for name in ("undisturbed", "halved")]
    train_until(runs[0])
    train_until(runs[1], last_epoch=1)
    train_until(runs[1], attempt=2)
    undisturbed, halved = runs
    assert numbers(halved) == numbers(undisturbed)
    assert halved.weights_path.read_bytes() == undisturbed.weights_path.read_bytes()
    plain = Run.create(tmp_path / "plain", replace(config, augmentation=()))
    train_until(plain)
    assert plain.records()[1]["train_loss"] != halved.records()[1]["train_loss"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"augmentation": ["crop", "rotation"]}, "'crop': moves no boxes; .* has horizontal_flip"),
        ({"model": "resnet18"}, "'resnet18': no detector; .*darknet:yolov3-tiny"),
        ({"dataset": "digits"}, "'digits': its images are labelled for task = classification"),
        ({"image_size": 100}, "image_size = 100: must be a multiple of 16"),
    ],
)
def test_what_detection_cannot_do_is_refused(
    tmp_path: Path, values: dict[str, object], reason: str
) -> None:
    config = config_of(tmp_path, **values)
    with pytest.raises(ValueError, match=reason):
        open_trial(config, Run(tmp_path / "run"))


def test_a_run_is_evaluated_on_other_boxes_whose_classes_have_other_numbers(
    tmp_path: Path, train_until: Callable[..., list[Record]]
) -> None:
    """They are the run's own test images, written as a folder."""
    shapes = load_boxes(TrainConfig(dataset="shapes"), 96)
    write_shapes(
        tmp_path / "other", shapes.images[shapes.test], shapes.targets(shapes.test), CLASSES[::-1]
    )
    config = config_of(tmp_path, classes="triangle,disc", train_fraction=0.1)
    run = Run.create(tmp_path / "run", config)
    train_until(run, test=True)
    own, result = f"boxes:{tmp_path / 'other'}", run.result() or {}
    scores = evaluate_elsewhere(run, World(), own)
    assert scores["class_names"] == ["triangle", "disc"]
    assert scores["test_loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert scores["test_map"] == pytest.approx(result["test_map"], rel=1e-6)
    assert result["test_map"] > 0
    renamed = (tmp_path / "other").rename(tmp_path / "renamed")
    (renamed / "classes.txt").write_text("disc\nring\nbox")
    for dataset, reason in (
        (f"boxes:{renamed}", "has no triangle; it has disc, ring, box"),
        ("digits", "its images are labelled for task = classification"),
    ):
        with pytest.raises(ConfigError, match=reason):
            evaluate_elsewhere(run, World(), dataset)


def test_another_description_of_the_network_is_refused(
    tmp_path: Path, train_until: Callable[..., list[Record]]
) -> None:
    """Other anchors fit the weights as well, and move every box."""
    fields: dict[str, Any] = {"train_fraction": 0.1, "epochs": 1}
    config = config_of(tmp_path, **fields)
    write_json(tmp_path / "sweep" / "sweep.json", {"cut": "content"})
    begun = Run.create(tmp_path / "begun", config)
    ended = Run.create(tmp_path / "sweep" / config.id, config)
    train_until(begun, last_epoch=0)
    train_until(ended)
    file = tmp_path / "small.cfg"
    known = file.read_text()
    digest = hashlib.sha256(known.encode()).hexdigest()
    assert (ended.result() or {})["model_digest"] == digest
    file.write_text(known.replace("20,20", "20,21"))
    began = f"small.cfg': the {{}} began with {file} with the SHA-256 {digest[:12]}…, and now there"
    with pytest.raises(ConfigError, match=began.format("run")):
        train_until(begun, attempt=2)
    with pytest.raises(ConfigError, match=began.format("run")):
        evaluate_run(ended, World())
    other = replace(config, seed=1)
    (problem,) = check(Attempt(Run(tmp_path / "sweep" / other.id), other))["problems"]
    assert began.format("sweep") in problem
    with pytest.raises(ConfigError, match=f"its network was described by {file} with the SHA-256"):
        Detector(DetectorSettings(weights=str(ended.path)))
    file.unlink()
    with pytest.raises(ConfigError, match=r"no such file; .*; give its network's file as --config"):
        Detector(DetectorSettings(weights=str(ended.path)))
    moved = tmp_path / "moved.cfg"
    moved.write_text(known)
    settings = DetectorSettings(weights=str(ended.path), config=str(moved))
    assert Detector(settings).class_names == CLASSES


def test_parts_without_a_box_and_other_choices_of_epochs_are_refused(tmp_path: Path) -> None:
    write_yolo(tmp_path / "boxes", {"train": 6, "test": 2})
    for number in range(2):
        (tmp_path / "boxes" / "labels" / "test" / f"test0{number}.txt").write_text("")
    config = config_of(tmp_path, dataset=f"boxes:{tmp_path / 'boxes'}")
    with pytest.raises(ConfigError, match="none of its 2 test images has a box of car, bus"):
        open_trial(config, Run(tmp_path / "run"))
    with pytest.raises(ConfigError, match="must be one of validation_map, validation_map50"):
        config_of(tmp_path, select="validation_mae")


def test_a_detector_of_what_is_no_finished_run_of_detection(tmp_path: Path) -> None:
    begun = Run.create(tmp_path / "begun", config_of(tmp_path))
    other = Run.create(tmp_path / "other", TrainConfig())
    for run, reason in (
        (begun, "has not ended well"),
        (other, "a run of cnn, which is no detector"),
    ):
        with pytest.raises(ConfigError, match=reason):
            Detector(DetectorSettings(weights=str(run.path)))
    with pytest.raises(ConfigError, match="is not a run directory"):
        Detector(DetectorSettings(weights=str(tmp_path)))
