"""What a linear probe costs when it trains together with others: a further trial of a warm worker.

python benchmarks/heads.py [--repeats 5] [--trials 32] [--epochs 10]

The frozen layers are those of a ResNet-18, on 360 made-up photographs of 128 pixels in six classes.
Trials differ in their learning rates. In each round, in one process and in turn: trials one by one
as a warm worker does them, the same in groups of 8 and of all, each with all its files and what a
worker tidies up after a task, and a plain loop of torch over the same features, with no files at
all. What all share (the network, the features) is there before. Writes
benchmarks/results/heads.json: seconds of CPU and of the clock for a trial.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import spread, write_result
from PIL import Image
from torch import nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.distributed.world import World
from fieldtrial.training.heads.opening import Openings
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.worker.warm import WarmProcess

CLASSES, IMAGES_PER_CLASS, SIDE = 6, 60, 128
FEW = 8  # trials of a small group


def make_photographs(folder: Path) -> None:
    """Write smooth random images, of which each class has its own colour."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class-{label}").mkdir(parents=True)
        colour = random.uniform(60, 190, 3)
        for number in range(IMAGES_PER_CLASS):
            rough = np.clip(colour + random.normal(0, 50, (8, 8, 3)), 0, 255).astype(np.uint8)
            image = Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            image.save(folder / f"class-{label}" / f"{number}.jpg", quality=90)


def timed(do: Callable[[], object], trials: int) -> tuple[float, float]:
    """Return the seconds of CPU and of the clock that a trial takes, of so many that are done."""
    cpu, clock = time.process_time(), time.perf_counter()
    do()
    return (time.process_time() - cpu) / trials, (time.perf_counter() - clock) / trials


class Probes:
    """Makes linear probes in a folder, and does them in a warm process."""

    def __init__(self, folder: Path, dataset: Path, epochs: int, process: WarmProcess) -> None:
        self._folder, self._made = folder, 0
        self._process = process
        self._base = TrainConfig(
            dataset=f"folder:{dataset}",
            image_size=SIDE,
            model="resnet18",
            freeze="all_but_head",
            batch_size=64,
            epochs=epochs,
        )

    def tasks(self, count: int) -> list[Task]:
        """Make so many new trials."""
        made = []
        for _ in range(count):
            self._made += 1
            config = TrainConfig.from_dict({"lr": 1e-3 + 1e-6 * self._made}, self._base)
            made.append(Task(str(Run.create(self._folder / config.id, config).path), 1))
        return made

    def trials(self, count: int, at_once: int) -> tuple[float, float]:
        """Do trials in groups of `at_once`."""
        tasks = self.tasks(count)
        outcomes: list[dict[str, Any]] = []

        def do() -> None:
            for start in range(0, count, at_once):
                group = tasks[start : start + at_once]
                self._process.do(group, lambda _, answer: outcomes.append(answer))

        seconds = timed(do, count)
        assert outcomes == count * [{"outcome": "finished"}], outcomes
        return seconds

    def plain_loop(self, count: int) -> tuple[float, float]:
        """Train heads on the features with the least that does it."""
        openings = Openings(World())
        attempt = Attempt.at(self.tasks(1)[0].open_run())
        assert openings.admits(attempt)
        data = openings.of(attempt).features
        return timed(
            lambda: [train_plainly(data, 1e-3 + 1e-6 * n, self._base) for n in range(count)], count
        )


def train_plainly(data: Any, lr: float, config: TrainConfig) -> float:
    """Train a head on features that are there, and return its last validation accuracy."""
    features, labels = torch.from_numpy(np.array(data.images)), torch.from_numpy(data.labels)
    head = nn.Linear(features.shape[1], CLASSES)
    optimizer = torch.optim.AdamW(head.parameters(), lr, weight_decay=0.0)
    train, validation = torch.from_numpy(data.train), torch.from_numpy(data.validation)
    for _ in range(config.epochs):
        order = train[torch.randperm(len(train))]
        for start in range(0, len(train), config.batch_size):
            chosen = order[start : start + config.batch_size]
            loss = nn.functional.cross_entropy(head(features[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            right = head(features[validation]).argmax(1) == labels[validation]
    return float(right.double().mean())


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = ("one by one", f"{FEW} together", f"{options.trials} together", "plain loop, no files")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    process = contextlib.closing(WarmProcess(World()))
    with tempfile.TemporaryDirectory() as folder, process as warm:
        os.environ["FIELDTRIAL_DATA"] = f"{folder}/data"
        make_photographs(Path(folder, "photographs"))
        probes = Probes(Path(folder), Path(folder, "photographs"), options.epochs, warm)
        probes.trials(2, 1)  # the images, the features and the imports of all that follow
        probes.trials(2, 2)
        for _ in range(options.repeats):
            seconds[names[0]].append(probes.trials(FEW, 1))
            seconds[names[1]].append(probes.trials(options.trials, FEW))
            seconds[names[2]].append(probes.trials(options.trials, options.trials))
            seconds[names[3]].append(probes.plain_loop(FEW))
    result = {
        "what": "seconds for a further linear probe of ResNet-18 on 360 images of 128 pixels",
        "epochs": options.epochs,
        "cpu": {name: spread([cpu for cpu, _ in own]) for name, own in seconds.items()},
        "clock": {name: spread([clock for _, clock in own]) for name, own in seconds.items()},
    }
    write_result("heads", result)


if __name__ == "__main__":
    main()
