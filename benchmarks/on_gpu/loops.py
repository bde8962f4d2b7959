"""Training to be timed: this project's own, and plain loops in PyTorch beside it."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from on_gpu.lines import Settings
from torch import nn
from torch.nn import functional as F

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit, open_trial

WARM_STEPS = 3


def world_of(settings: Settings) -> World:
    """Return one process on the device."""
    return World(
        device=torch.device("cuda", 0) if settings.device == "cuda" else torch.device("cpu")
    )


def wait(settings: Settings) -> None:
    """Wait until the device has finished all work that was queued on it."""
    if settings.device == "cuda":
        torch.cuda.synchronize()


def new_run(config: TrainConfig, settings: Settings) -> Run:
    """Return a run directory of its own."""
    return Run.create(Path(tempfile.mkdtemp(dir=settings.folder)) / "run", config)


def train(config: TrainConfig, settings: Settings) -> list[Record]:
    """Train a trial as a worker does, and return the records of its epochs."""
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return list(Fit(Attempt.at(new_run(config, settings), world_of(settings))).records())


def settled(records: list[Record], name: str) -> float:
    """Return the median of what the epochs from the second on recorded, 0.0 if they did not."""
    values = [record[name] for record in records if record["epoch"] > 1 and name in record]
    return float(np.median(values)) if values else 0.0


def data_of(config: TrainConfig, settings: Settings) -> Data:
    """Return the images that a trial of this config trains on, from the store."""
    return open_trial(config, new_run(config, settings))[0]


def shuffled_batches(data: Data, size: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[Any]]]:
    """Yield images (n, h, w, c) and labels for ever, each epoch in a new order."""
    draw = np.random.default_rng(0)
    while True:
        order = draw.permutation(data.train)
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield data.images[chosen], data.labels[chosen]


def plain_loop(
    model: nn.Module,
    data: Data,
    size: int,
    steps: int,
    settings: Settings,
    optimizer: Callable[[Any], torch.optim.Optimizer],
) -> float:
    """Return the images a second of a plain eager loop: float32, images as (n, c, h, w).

    Batches of 8-bit images come from memory, and are scaled on the device.
    """
    device = world_of(settings).device
    model = model.to(device).train()
    step_of = optimizer(model.parameters())
    mean, std = (torch.tensor(one, device=device).view(-1, 1, 1) for one in (data.mean, data.std))
    began = 0.0
    batches = shuffled_batches(data, size)
    for number, (images, labels) in enumerate(itertools.islice(batches, WARM_STEPS + steps)):
        if number == WARM_STEPS:
            wait(settings)
            began = time.perf_counter()
        given = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous().float() / 255
        loss = F.cross_entropy(model((given - mean) / std), torch.from_numpy(labels).to(device))
        step_of.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        step_of.step()
    wait(settings)
    return steps * size / (time.perf_counter() - began)


def per_call(call: Callable[[], object], times: int, settings: Settings) -> float:
    """Return the seconds that a call takes, after some calls that warm up."""
    for _ in range(WARM_STEPS):
        call()
    wait(settings)
    began = time.perf_counter()
    for _ in range(times):
        call()
    wait(settings)
    return (time.perf_counter() - began) / times


def matrix_rate(settings: Settings, dtype: torch.dtype = torch.bfloat16) -> float:
    """Return the FLOPs a second of a product of square matrices of random numbers."""
    side = 512 if settings.small else 8192
    device = world_of(settings).device
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / per_call(lambda: one @ other, 3 if settings.small else 20, settings)


def copy_rate(settings: Settings) -> float:
    """Return the bytes a second that a copy within the device reads and writes."""
    count = 2**22 if settings.small else 2**28
    source = torch.empty(count, dtype=torch.float32, device=world_of(settings).device)
    target = torch.empty_like(source)
    return 2 * 4 * count / per_call(lambda: target.copy_(source), 10, settings)


def upload_rate(settings: Settings) -> float:
    """Return the bytes a second that go to the device from memory that is not swapped."""
    source = torch.empty(2**22 if settings.small else 2**28, dtype=torch.uint8)
    if settings.device == "cuda":
        source = source.pin_memory()
    target = torch.empty_like(source, device=world_of(settings).device)
    return len(source) / per_call(lambda: target.copy_(source, non_blocking=True), 5, settings)


def root_of(path: Path) -> Path:
    """Return the repository's folder, for commands that are run in it."""
    return path.resolve().parents[2]
