"""Sections: a frozen probe's epoch, many heads together, and eight small trials on one device."""

import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from on_gpu.images import photographs
from on_gpu.lines import Line, Say, Settings
from on_gpu.loops import (
    data_of,
    new_run,
    per_call,
    settled,
    train,
    world_of,
)
from on_gpu.networks import photos
from torch import nn
from torch.nn import functional as F

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.processes import python
from fieldtrial.training.freezing.feature_cache import with_features
from fieldtrial.training.loop.fit import open_trial

TOGETHER = 8  # small trials
TOGETHER_HEADS = 52
FEW = 3  # trials, of which each is timed alone
PATIENCE = 120.0  # seconds, for a worker's answer


def probe_config(settings: Settings, **fields: Any) -> TrainConfig:
    """Return a linear probe of a frozen ResNet-18."""
    chosen = {
        "dataset": photos(settings),
        "model": "torchvision:resnet18",
        "image_size": 32 if settings.small else 224,
        "freeze": "all_but_head",
        "batch_size": 16 if settings.small else 256,
        "epochs": 10,
        "validation_fraction": 0.1,
        **fields,
    }
    return TrainConfig.from_dict(chosen)


def probe(settings: Settings, say: Say) -> None:
    """An epoch of a probe on kept features, beside a plain loop on features on the device."""
    config = probe_config(settings)
    ours, peer = [], []
    for _ in range(settings.repeats):
        records = train(config, settings)
        rate = settled(records, "images_per_second")
        ours.append(1000 * data_of(config, settings).train.size / rate)
        peer.append(1000 * _plain_probe(config, settings))
    say(
        Line(
            "an epoch of a linear probe, beside a plain loop on features on the device",
            ours,
            "ms",
            peer,
        )
    )
    whole = [record["seconds"] for record in records if record["epoch"] > 1]
    say(Line("the same with its evaluation", [1000 * float(np.median(whole))], "ms"))


def _plain_probe(config: TrainConfig, settings: Settings) -> float:
    """Return the seconds of an epoch of a linear layer on features that lie on the device."""
    world = world_of(settings)
    data, network = open_trial(config, new_run(config, settings))
    _, kept = with_features(network.to(world.device), data, config, world)
    features = torch.from_numpy(np.asarray(kept.images[kept.train])).to(world.device).flatten(1)
    labels = torch.from_numpy(kept.labels[kept.train]).to(world.device)
    layer = nn.Linear(features.shape[1], len(data.class_names)).to(world.device)
    optimizer = torch.optim.AdamW(layer.parameters(), config.lr, weight_decay=0.0)

    def epoch() -> None:
        order = torch.randperm(len(labels), device=world.device)
        for chosen in torch.split(order, config.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(layer(features[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return per_call(epoch, 10, settings)


def heads(settings: Settings, say: Say) -> None:
    """Probes that differ in their learning rate, as one batched product, beside one by one."""
    count = 4 if settings.small else TOGETHER_HEADS
    config = probe_config(settings)
    worker = Worker({})
    together, alone = [], []

    def train_all(many: int, at_once: int) -> float:
        runs = [
            new_run(dataclasses.replace(config, lr=1e-4 * 1.05**number), settings)
            for number in range(many)
        ]
        began = time.perf_counter()
        for start in range(0, many, at_once):
            part = runs[start : start + at_once]
            worker.start(part)
            worker.wait(len(part))
        return (time.perf_counter() - began) / many

    try:
        train_all(2, 2)  # the features are kept, and the worker is warm
        for _ in range(settings.repeats):
            together.append(train_all(count, count))
            alone.append(train_all(FEW, 1))
    finally:
        worker.close()
    what = f"a probe of {config.epochs} epochs, {count} as one product, beside one by one"
    say(Line(what, together, "s", alone, "<= 0.03 s"))


class Worker:
    """A warm worker of this project, to be given trials."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            python("-m", "fieldtrial.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | environment,
        )

    def start(self, runs: Sequence[Run]) -> None:
        """Give it trials, to train together if they are several."""
        assert self._process.stdin
        tasks: list[dict[str, object]] = [{"run": str(run.path), "attempt": 1} for run in runs]
        grouped = [task | {"group": "probes"} for task in tasks]
        line = json.dumps(grouped if len(runs) > 1 else tasks[0])
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def wait(self, count: int = 1) -> None:
        """Wait until `count` trials have ended. Raises RuntimeError if one failed."""
        assert self._process.stdout
        for _ in range(count):
            answer = json.loads(self._process.stdout.readline() or "{}")
            if answer.get("outcome") != "finished":
                raise RuntimeError(f"a worker answered {answer}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(PATIENCE)


def eight(settings: Settings, say: Say) -> None:
    """Eight small trials: one after another; at once, a worker each; and with NVIDIA's MPS."""
    count = 2 if settings.small else TOGETHER
    config = _small(settings)
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    environment = {"OMP_NUM_THREADS": str(threads)}
    # This process itself must not use the device: with MPS, nobody else does.
    one = [Worker({"OMP_NUM_THREADS": str(threads * count)})]
    after_each_other = _timed(one, config, settings, count)
    at_once = _timed([Worker(environment) for _ in range(count)], config, settings, count)
    what = f"{count} trials of a small CNN at once, a worker each"
    say(Line(f"{what}, beside one after another", at_once, "s", after_each_other, ">= 4"))
    server = shutil.which("nvidia-cuda-mps-control") if settings.device == "cuda" else None
    if server is None:
        say(Line("with MPS", remark="left out: there is no nvidia-cuda-mps-control"))
    else:
        with_mps = _with_mps(server, environment, config, settings, count)
        say(Line(f"{what}, with MPS", with_mps, "s", after_each_other, ">= 4"))
    say(_fused(settings, count))


def _small(settings: Settings) -> TrainConfig:
    images = 64 if settings.small else 2048
    chosen = {
        "dataset": photographs(settings.folder / "smallest", images, 32),
        "image_size": 32,
        "filters": [32],
        "batch_size": 16 if settings.small else 64,
        "epochs": 2 if settings.small else 4,
        "validation_fraction": 0.1,
    }
    return TrainConfig.from_dict(chosen)


def _timed(
    workers: list[Worker], config: TrainConfig, settings: Settings, count: int
) -> list[float]:
    """Return the seconds that `count` trials take these workers, which are warm by then."""
    rounds = [[dataclasses.replace(config, epochs=1)] * len(workers)]
    rounds += [[dataclasses.replace(config, seed=seed) for seed in range(count)]] * settings.repeats
    taken = []
    try:
        for configs in rounds:
            left = [new_run(one, settings) for one in configs]
            began = time.perf_counter()
            while left:
                busy = [(worker, left.pop()) for worker in workers if left]
                for worker, run in busy:
                    worker.start([run])
                for worker, _ in busy:
                    worker.wait()
            taken.append(time.perf_counter() - began)
    finally:
        for worker in workers:
            worker.close()
    return taken[1:]


def _with_mps(
    server: str,
    environment: dict[str, str],
    config: TrainConfig,
    settings: Settings,
    count: int,
) -> list[float]:
    """Return the seconds with CUDA's multi-process service, which is ours alone."""
    folder = settings.folder / "mps"
    folder.mkdir()
    own = {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    subprocess.run([server, "-d"], env=os.environ | own, check=True)
    try:
        workers = [Worker(environment | own) for _ in range(count)]
        return _timed(workers, config, settings, count)
    finally:
        subprocess.run([server], env=os.environ | own, input=b"quit\n", check=False)


def _fused(settings: Settings, count: int) -> Line:
    """Return how long a step of one network takes, and one of several as one, by groups."""
    device = world_of(settings).device
    batch = 16 if settings.small else 64

    def step_of(groups: int) -> float:
        layers: list[nn.Module] = []
        given = 3 * groups
        for _ in range(5):
            made = 32 * groups
            layers += [
                nn.Conv2d(given, made, 3, padding=1, groups=groups),
                nn.BatchNorm2d(made),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            given = made
        network = nn.Sequential(*layers, nn.Flatten()).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
        images = torch.rand(batch, 3 * groups, 32, 32, device=device)

        def step() -> None:
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()

        return 1000 * per_call(step, 5 if settings.small else 50, settings)

    single, fused = ([step_of(one) for _ in range(settings.repeats)] for one in (1, count))
    what = (
        f"a plain step of {count} networks as one with grouped convolutions, beside {count} steps"
    )
    return Line(what, fused, "ms", [count * one for one in single], "", "no trial trains so")
