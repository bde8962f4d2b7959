"""Section: CIFAR-10 to 94 %, or images of its shape for a number of epochs, beside airbench94."""

import numpy as np
import torch
from on_gpu import airbench
from on_gpu.images import cifar_shaped
from on_gpu.lines import Line, Say, Settings
from on_gpu.loops import data_of, train, wait, world_of

from fieldtrial.config import TrainConfig

ENOUGH = 0.94
MADE = "made images, for a fixed number of epochs: their accuracy says nothing of CIFAR-10"


def cifar(settings: Settings, say: Say) -> None:
    """Time ours, and the loop after airbench94, on the same images."""
    config = _config(settings)
    data = data_of(config, settings)
    device = world_of(settings).device
    train_images, test_images = (
        airbench.Images.of(
            torch.from_numpy(np.ascontiguousarray(data.images[chosen])),
            torch.from_numpy(data.labels[chosen]),
            device,
        )
        for chosen in (data.train, data.test)
    )
    epochs, batch = (2.0, 128) if settings.small else (airbench.EPOCHS, airbench.BATCH)
    # The first call of each kernel is not of the training.
    airbench.train(train_images, epochs / 5, lambda: wait(settings), batch)
    ours, theirs, own_scores, their_scores = [], [], [], []
    for _ in range(settings.repeats):
        made, seconds = airbench.train(train_images, epochs, lambda: wait(settings), batch)
        theirs.append(seconds)
        their_scores.append(airbench.accuracy(made, test_images))
        records = [one for one in train(config, settings) if one["epoch"]]
        scores = [record["validation_accuracy"] for record in records]
        reached = next((n for n, score in enumerate(scores, start=1) if score >= ENOUGH), None)
        counted = len(records) if settings.cifar is None or reached is None else reached
        ours.append(sum(record["seconds"] for record in records[:counted]))
        own_scores.append(max(scores))
    is_real = settings.cifar is not None
    what = (
        f"CIFAR-10 to {ENOUGH:.0%}" if is_real else f"{config.epochs} epochs, the peer's {epochs}"
    )
    say(Line(what, ours, "s", theirs, ">= 0.67" if is_real else "", "" if is_real else MADE))
    say(Line("best validation accuracy; the peer's on test", own_scores, "", their_scores))


def _config(settings: Settings) -> TrainConfig:
    return TrainConfig.from_dict(
        {
            "dataset": _dataset(settings),
            "image_size": 32,
            "model": "cnn",
            "blocks": 3,
            "convolutions": 2,
            "filters": [8, 16, 16] if settings.small else [64, 256, 256],
            "dense_width": [10] if settings.small else [256],
            "augmentation": ("crop", "horizontal_flip"),
            "optimizer": "sgd",
            "nesterov": True,
            "momentum": 0.9,
            "lr": 0.1,
            "weight_decay": 5e-4,
            "label_smoothing": 0.2,
            "schedule": "one_cycle",
            "batch_size": 128 if settings.small else 512,
            "epochs": 2 if settings.small else 16,
            "validation_fraction": 0.1,
            "precision": "fp32" if settings.device == "cpu" else "bf16",
        }
    )


def _dataset(settings: Settings) -> str:
    """Return the data set, in FIELDTRIAL_DATA or a folder of classes."""
    if settings.cifar is None:
        return cifar_shaped(settings.folder / "data", 200 if settings.small else 10_000)
    is_binary = (settings.cifar / "cifar-10-batches-bin").is_dir()
    return "cifar10" if is_binary else f"folder:{settings.cifar}"
