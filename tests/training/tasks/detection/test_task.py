"""Detection as a task of training: learned, resumed, scored, and used by the detector."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.detection.detector import Detector
from fieldtrial.detection.settings import DetectorSettings
from fieldtrial.disk.run import Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.boxes.load import load_boxes
from fieldtrial.training.data.boxes.shapes import CLASSES
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.scoring.evaluation import evaluate_run
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


def write_shapes(root: Path, images: np.ndarray, targets: np.ndarray) -> None:
    """Write the images with their boxes, as YOLO's texts, as each of the three parts."""
    (root / "classes.txt").parent.mkdir()
    (root / "classes.txt").write_text("\n".join(CLASSES))
    for part in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for number, (image, boxes) in enumerate(zip(images, targets, strict=True)):
            Image.fromarray(image).save(root / "images" / part / f"{number}.png")
            lines = [
                f"{int(label)} {x} {y} {width} {height}"
                for label, x, y, width, height in boxes.tolist()
                if label >= 0
            ]
            (root / "labels" / part / f"{number}.txt").write_text("\n".join(lines))


def test_eight_images_are_learned_by_heart(tmp_path: Path) -> None:
    """Trained and validated on the same eight images, nearly all objects are found."""
    folder = tmp_path / "eight"
    shapes = load_boxes(TrainConfig(dataset="shapes"), 96)
    write_shapes(folder, shapes.images[:8], shapes.targets(np.arange(8)))
    config = config_of(
        tmp_path, dataset=f"boxes:{folder}", epochs=60, batch_size=8, lr=0.01, schedule="cosine"
    )
    run = trained(tmp_path / "run", config, test=True)
    result = run.result()
    assert result
    print(result)
    assert result["test_map50"] > 0.9
