"""Small trials of other tasks than classification."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.data.labels.loaders import LOADERS
from tests.training.darknets import write_description


def detected(folder: Path) -> dict[str, Any]:
    """Return a trial of detection: 72 images in batches of 17, without batch normalisation."""
    model = f"darknet:{write_description(folder, batch_norm=False)}"
    values = {"task": "detection", "select": "validation_map", "dataset": "shapes", "model": model}
    return values | {"epochs": 1, "batch_size": 17, "optimizer": "sgd", "lr": 1e-3}


def of_images(task: str) -> dict[str, Any]:
    """Return a trial of the task: 72 images in batches of 17."""
    select = {"multilabel": "validation_map", "regression": "validation_mae"}[task]
    values = {"task": task, "select": select, "dataset": "shapes", "image_size": 16}
    model = {"model": "mlp", "dense_width": [8], "optimizer": "sgd", "lr": 1e-3}
    return values | model | {"epochs": 2, "batch_size": 17}


def learned(config: TrainConfig) -> object:
    """Return what the task of `config` learns of images, or why it does not."""
    dataset = "digits" if config.task == "classification" else "shapes"
    try:
        return LOADERS[config.task](
            replace(config, dataset=dataset), 96, "content", None
        ).class_names
    except ConfigError as error:
        return str(error)
