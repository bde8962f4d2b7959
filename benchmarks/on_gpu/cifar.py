"""Section: CIFAR-10 to 94 %, or images of its shape for a number of epochs, beside airbench94."""

from collections.abc import Sequence
from statistics import mean

import numpy as np
import torch
from on_gpu import airbench
from on_gpu.images import cifar_shaped
from on_gpu.lines import Line, Say, Settings
from on_gpu.loops import data_of, train, wait, world_of

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record

ENOUGH = 0.94
MADE = "made images, for a fixed number of epochs: their accuracy says nothing of CIFAR-10"


def cifar(settings: Settings, say: Say) -> None:
    """Time ours, and the loop after airbench94, on the same images; both are scored on the same."""
    config = _config(settings)
    data = data_of(config, settings)
    device = world_of(settings).device
    train_images, validation_images = (
        airbench.Images.of(
            torch.from_numpy(np.ascontiguousarray(data.images[chosen])),
            torch.from_numpy(data.labels[chosen]),
            device,
        )
        for chosen in (data.train, data.validation)
    )
    epochs, batch = (2.0, 128) if settings.small else (airbench.EPOCHS, airbench.BATCH)
    # The first call of each kernel is not of the training.
    airbench.train(train_images, epochs / 5, lambda: wait(settings), batch)
    runs, theirs, their_scores = list[list[Record]](), [], []
    for _ in range(settings.repeats):
        made, seconds = airbench.train(train_images, epochs, lambda: wait(settings), batch)
        theirs.append(seconds)
        their_scores.append(airbench.accuracy(made, validation_images))
        runs.append([one for one in train(config, settings) if one["epoch"]])
    if settings.cifar:
        say(_time_to_enough(list(map(_seconds_to_enough, runs)), theirs, their_scores))
    else:
        what = f"{config.epochs} epochs, the peer's {epochs}"
        say(Line(what, list(map(_seconds, runs)), "s", theirs, remark=MADE))
    own_scores = [max(record["validation_accuracy"] for record in records) for records in runs]
    what = "validation accuracy of the best epoch; the peer's at its end"
    say(Line(what, own_scores, "", their_scores))


def _seconds(records: Sequence[Record]) -> float:
    return float(sum(record["seconds"] for record in records))


def _seconds_to_enough(records: Sequence[Record]) -> float | None:
    """Return the seconds up to the end of the first epoch that is good enough; None: none is."""
    for number, record in enumerate(records, start=1):
        if record["validation_accuracy"] >= ENOUGH:
            return _seconds(records[:number])
    return None


def _time_to_enough(
    ours: Sequence[float | None], theirs: Sequence[float], their_scores: Sequence[float]
) -> Line:
    """Return the line that compares the times, without those of a side that is not good enough.

    Ours is in each run; the peer, whose authors give a mean of its accuracy, is on average.
    """
    reached = [one for one in ours if one is not None]
    is_reached, is_peer = len(reached) == len(ours), mean(their_scores) >= ENOUGH
    remarks = [
        "" if is_reached else f"not reached in {len(ours) - len(reached)} of {len(ours)} runs",
        "" if is_peer else f"not reached by the peer: {mean(their_scores):.1%} on average",
    ]
    return Line(
        f"CIFAR-10 to {ENOUGH:.0%} in validation",
        reached if is_reached else (),
        "s",
        theirs if is_peer else (),
        ">= 0.67",
        "; ".join(filter(None, remarks)),
    )


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
