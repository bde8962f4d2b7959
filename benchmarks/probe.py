"""What a linear probe costs: trials of a warm worker, and jobs/train.py beside a tutorial's script.

python benchmarks/probe.py [--repeats 5] [--epochs 10] [--images 360]

ResNet-18 on JPEG files of 320 × 240 pixels in four classes, at 128 pixels; all layers but the last
are frozen. Its weights are drawn once and read from a file. CPU and wall seconds of
- worker: in one process, which does tasks as a warm worker does, log files and tidying up included:
  the first trial with an empty cache, which decodes the images and computes their features; a
  further trial; the same trial without features (FIELDTRIAL_FEATURES=off), as it then is for each;
  the script's training as the first finds the files; and a plain loop on the same features, which
  writes nothing.
- command: jobs/train.py with an empty cache, again with another learning rate, and the script as a
  command of its own, imports included.
- crops: jobs/train.py and the script with random-resized crops and flips, where no features can be
  kept. The decoded images are there.
The script is PyTorch's tutorial on transfer learning, with its frozen network: ImageFolder, a
DataLoader with two workers, the whole network in each epoch of training and validation. It is this
file with --script. All take turns in each round, and ratios are of one round. Writes
benchmarks/results/probe.json.
"""

import argparse
import contextlib
import functools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from machine import HERE, spread, write_result
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.task_queue import Task
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cache import with_features
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.worker.warm import WarmProcess

CLASSES, SIDE, BATCH, WORKERS = 4, 128, 64, 2
WIDTH, HEIGHT = 320, 240
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROPS = ("random_resized_crop", "horizontal_flip")
JOB = HERE.parent / "jobs" / "train.py"
FURTHER = 3  # trials that are averaged

Cost = dict[str, float]  # seconds


def used() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def cost(work: Callable[[], Any], times: int = 1) -> Cost:
    """Return the CPU and wall seconds of `work`, of one of so many `times`."""
    cpu, wall = used(), time.perf_counter()
    for _ in range(times):
        work()
    return {"cpu": (used() - cpu) / times, "wall": (time.perf_counter() - wall) / times}


def write_images(folder: Path, count: int) -> None:
    """Write JPEG files whose classes differ in colour: training and, a quarter, validation.

    So many in all, and two of each class beside them for a test that nobody takes.
    """
    random = np.random.default_rng(0)
    for number in range(count + 2 * CLASSES):
        label = number % CLASSES
        rough = random.normal(90 + 20 * label, 40, (12, 16, 3)).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(rough).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        part = "test" if number >= count else "val" if number % 16 < CLASSES else "train"
        path = folder / part / f"class{label}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def script(folder: Path, weights: Path, epochs: int, crops: bool) -> float:
    """Train as the tutorial does; return the best share of correct answers in validation."""
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    whole = [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), *normalise]
    cropped = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), *normalise]
    parts = {"train": cropped if crops else whole, "val": whole}
    loaders = {
        part: DataLoader(
            datasets.ImageFolder(folder / part, transforms.Compose(steps)),
            BATCH,
            shuffle=True,
            num_workers=WORKERS,
        )
        for part, steps in parts.items()
    }
    model = torchvision.models.resnet18()
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.requires_grad_(False)
    model.fc = nn.Linear(model.fc.in_features, CLASSES)
    optimizer = torch.optim.AdamW(model.fc.parameters(), lr=0.001)
    best = 0.0
    for _ in range(epochs):
        for part, loader in loaders.items():
            model.train(part == "train")
            correct = seen = 0
            for images, labels in loader:
                with torch.set_grad_enabled(part == "train"):
                    logits = model(images)
                    loss = cross_entropy(logits, labels)
                    if part == "train":
                        optimizer.zero_grad()
                        loss.backward()  # type: ignore[no-untyped-call]
                        optimizer.step()
                correct += int((logits.argmax(1) == labels).sum())
                seen += len(labels)
            if part == "val":
                best = max(best, correct / seen)
    return best


def plain_loop(features: torch.Tensor, labels: torch.Tensor, train: int, epochs: int) -> None:
    """Train a linear layer on features in memory, and evaluate it after each epoch."""
    layer = nn.Linear(features.shape[1], CLASSES)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.001)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(train), BATCH):
            loss = cross_entropy(layer(features[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            cross_entropy(layer(features[train:]), labels[train:])


class Bench:
    """The images, weights and runs of this benchmark, in a folder, and a warm process."""

    def __init__(self, folder: Path, images: int, epochs: int, process: WarmProcess) -> None:
        self.folder, self.epochs = folder, epochs
        self.images, self.weights = folder / "images", folder / "resnet18.pth"
        write_images(self.images, images)
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18().state_dict(), self.weights)
        self._runs, self._process = 0, process

    def config(self, **fields: Any) -> TrainConfig:
        """Return the next trial's config; each has another learning rate."""
        return TrainConfig.from_dict(
            {
                "dataset": f"folder:{self.images}",
                "model": "resnet18",
                "weights": str(self.weights),
                "image_size": SIDE,
                "freeze": "all_but_head",
                "batch_size": BATCH,
                "epochs": self.epochs,
                "lr": 0.001 * (1 + self._runs / 1000),
                **fields,
            }
        )

    def next_folder(self) -> Path:
        """Return the folder of the next run."""
        self._runs += 1
        return self.folder / "runs" / str(self._runs)

    def trial(self) -> None:
        """Do a trial as a warm worker does."""
        answers: list[dict[str, Any]] = []
        run = Run.create(self.next_folder(), self.config())
        self._process.do([Task(str(run.path), 1)], lambda _, answer: answers.append(answer))
        assert answers == [{"outcome": "finished"}], answers

    def features(self) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Return the cached features in memory, their labels, and how many are for training."""
        config = self.config()
        run = Run.create(self.next_folder(), config)
        data, network = open_trial(config, run)
        _, kept = with_features(network, data, config, World())
        order = np.concatenate([kept.train, kept.validation])
        labels = torch.from_numpy(kept.labels[order])
        return torch.from_numpy(kept.take(order)).flatten(1), labels, len(kept.train)

    def command(self, **fields: Any) -> None:
        """Do a trial as jobs/train.py."""
        flags = self.config(**fields).to_flags()
        command = [sys.executable, str(JOB), "--run", str(self.next_folder()), *flags]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def script_command(self, crops: bool = False) -> None:
        """Do the same as the script."""
        paths = ["--script", str(self.images), str(self.weights)]
        command = [sys.executable, __file__, *paths, "--epochs", str(self.epochs)]
        subprocess.run([*command, *["--crops"] * crops], check=True, stdout=subprocess.DEVNULL)

    @contextlib.contextmanager
    def empty_cache(self) -> Iterator[None]:
        """Have nothing decoded and no features kept, also in this process's memory."""
        from fieldtrial.training.data import load
        from fieldtrial.training.models import kept, weights

        for memory in (load._load, load._open, weights._read_state):
            memory.cache_clear()
        kept._kept.clear()
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:
            os.environ["FIELDTRIAL_CACHE"] = cache
            yield

    def worker_round(self) -> dict[str, Cost]:
        """Return what each costs in one process, once."""
        with self.empty_cache():
            found = {"first": cost(self.trial), "further": cost(self.trial, FURTHER)}
            features, labels, count = self.features()
            plain = functools.partial(plain_loop, features, labels, count, self.epochs)
            found["plain loop"] = cost(plain, FURTHER)
            os.environ["FIELDTRIAL_FEATURES"] = "off"
            found["without features"] = cost(self.trial)
            del os.environ["FIELDTRIAL_FEATURES"]
        own = functools.partial(script, self.images, self.weights, self.epochs, crops=False)
        return found | {"script": cost(own)}

    def command_round(self) -> dict[str, Cost]:
        """Return what each costs as a command, once."""
        with self.empty_cache():
            found = {"first": cost(self.command), "further": cost(self.command)}
        return found | {"script": cost(self.script_command)}

    def crops_round(self) -> dict[str, Cost]:
        """Return what each costs with crops that differ in each epoch, once."""
        with self.empty_cache():
            self.command(augmentation=list(CROPS), epochs=1)
            found = {"further": cost(lambda: self.command(augmentation=list(CROPS)))}
        return found | {"script": cost(lambda: self.script_command(crops=True))}


def summary(rounds: list[dict[str, Cost]], over: tuple[str, ...]) -> dict[str, Any]:
    """Return the spread of each cost, and of the ratios of each in `over` to the others."""
    kinds, names = ("cpu", "wall"), list(rounds[0])
    seconds = {
        name: {kind: spread([one[name][kind] for one in rounds]) for kind in kinds}
        for name in names
    }
    ratios = {
        f"{peer} over {name}": {
            kind: spread([one[peer][kind] / one[name][kind] for one in rounds]) for kind in kinds
        }
        for peer in over
        for name in names
        if name not in over
    }
    return {"seconds": seconds, "ratios": ratios}


def main() -> None:
    """Measure and write the result; with --script, only train as the script does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=360)
    parser.add_argument("--script", nargs=2, type=Path, metavar=("IMAGES", "WEIGHTS"))
    parser.add_argument("--crops", action="store_true")
    options = parser.parse_args()
    if options.script:
        images, weights = options.script
        print(script(images, weights, options.epochs, options.crops))
        return
    process = contextlib.closing(WarmProcess(World()))
    with tempfile.TemporaryDirectory() as folder, process as warm:
        bench = Bench(Path(folder), options.images, options.epochs, warm)
        with bench.empty_cache():
            bench.trial()  # imports
        rounds = [
            (bench.worker_round(), bench.command_round(), bench.crops_round())
            for _ in range(options.repeats)
        ]
    worker, command, crops = (list(part) for part in zip(*rounds, strict=True))
    result = {
        "what": f"linear probe of ResNet-18 at {SIDE} pixels, {options.images} images,"
        f" {options.epochs} epochs, on {torch.get_num_threads()} threads",
        "worker": summary(worker, ("without features", "script", "plain loop")),
        "command": summary(command, ("script",)),
        "crops": summary(crops, ("script",)),
    }
    write_result("probe", result)


if __name__ == "__main__":
    main()
