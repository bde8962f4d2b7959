"""Batches: each process's share of every global batch, cut into micro-batches."""

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.effects import has_effect
from fieldtrial.fields.rules import is_mixed
from fieldtrial.fields.switches import switch
from fieldtrial.training.augment.own_change import own_changes
from fieldtrial.training.augment.transforms import augment
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.originals import without_crop
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.cached_views import ViewData
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.models.network import Network, forward_shapes

AHEAD = 2  # batches that are prepared before they are asked for
# Purposes of random numbers; freezing/ has 5 and 6 (cached_views) and 9 (low_rank).
ORDER, DROPOUT, AUGMENTATION, CROP, SAMPLING, MIXING = 1, 2, 3, 4, 7, 8
TRIPLET = 3  # images


@dataclass(frozen=True)
class Batch:
    """A process's share of a global batch of `count` images.

    `images` are uint8 (n, height, width, channels), or float (n, channels, height, width) where an
    augmentation has changed their colours. `targets` are what is learned of them, (n, ...); in
    classification these are labels, int64 (n,), or the shares of the classes in mixed images, float
    (n, classes). `weights` are float (n,): 1, or 0 for padding, because all processes take equally
    many images.
    """

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    count: int


def random_number(*numbers: int) -> int:
    """Return a seed from 0 to 2**64 - 1, as good as independent for each sequence of `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def shuffled(indices: Indices, config: TrainConfig, epoch: int) -> Indices:
    """Return `indices` in the order of `epoch`: the same on all processes, whatever ran before."""
    return np.random.default_rng([ORDER, config.seed, epoch]).permutation(indices)


def order_of(data: Data, config: TrainConfig, epoch: int) -> Indices:
    """Return the training images of `epoch` in their order: the same on all processes.

    With sampling = balanced they are drawn with replacement, as many as there are: first a class,
    each with the same probability, and then one of its images.
    """
    if config.sampling == "balanced" and has_effect("sampling", config):
        labels, counts = data.labels[data.train], data.count(data.train)
        chances = 1 / counts[labels]
        draw = np.random.default_rng([SAMPLING, config.seed, epoch])
        return draw.choice(data.train, len(data.train), p=chances / chances.sum())
    return shuffled(data.train, config, epoch) if config.shuffle else data.train


# From a batch's number and its images to their pixels, or their features.
Draw = Callable[[int, Indices], NDArray[np.uint8] | NDArray[np.float32]]


def batches(
    data: Data, order: Indices, size: int, world: World, draw: Draw | None = None
) -> Generator[Batch]:
    """Yield this process's share of each global batch of `size` images, on its device, in `order`.

    `draw` returns their pixels; None: those of `data.images`.

    Process r takes every world.size-th image from the r-th on. Shorter shares are padded with
    images of weight 0 to the length of the longest. In a run whose full batches have more images
    than there are processes, a share is also padded to at least two images, so that batch
    normalisation never sees a single one; see `require_micro_batch`.

    Where preparing them takes long, a thread does it while the network learns; see `ahead`.
    """
    prepared = _batches(data, order, size, world, draw)
    takes_long = (draw is not None and data.originals is not None) or world.device.type == "cuda"
    return ahead(prepared) if takes_long and switch("FIELDTRIAL_PREFETCH") == "on" else prepared


def _batches(
    data: Data, order: Indices, size: int, world: World, draw: Draw | None
) -> Generator[Batch]:
    for start in range(0, len(order), size):
        count = min(size, len(order) - start)
        width = max(math.ceil(count / world.size), min(2, math.ceil(size / world.size)))
        if width * world.size == count:
            chosen = order[start + world.rank : start + count : world.size]
            weights = np.ones(width, np.float32)
        else:
            places = start + np.arange(world.rank, width * world.size, world.size)
            chosen = np.take(order, places, mode="wrap")
            weights = (places < start + count).astype(np.float32)
        images = data.take(chosen) if draw is None else draw(start // size, chosen)
        targets = data.targets(chosen)
        yield Batch(_send(images, world), _send(targets, world), _send(weights, world), count)


def ahead(source: Generator[Batch]) -> Generator[Batch]:
    """Yield the batches of `source`, of which a thread prepares AHEAD while one is in use.

    They are the same, and so is an error. Closing this generator ends the thread.
    """
    with contextlib.closing(source), ThreadPoolExecutor(1, "batches") as thread:
        try:
            prepared = deque(thread.submit(next, source, None) for _ in range(AHEAD))
            while (batch := prepared.popleft().result()) is not None:
                prepared.append(thread.submit(next, source, None))
                yield batch
        finally:
            thread.shutdown(cancel_futures=True)


def crops(data: Data, config: TrainConfig, first: int, rank: int) -> Draw | None:
    """Return what draws crops from the original images, or cached views, where the data have them.

    first: the number of the step of the epoch's first batch.
    """
    if isinstance(data, ViewData):
        epoch = first // math.ceil(len(data.train) / config.batch_size)
        return lambda _, chosen: data.seen(chosen, epoch)
    originals = data.originals
    if originals is None:
        return None

    def draw(number: int, chosen: Indices) -> NDArray[np.uint8]:
        seed = random_number(CROP, config.seed, first + number, rank)
        return originals.crops(chosen, config.augmentation, seed)

    return draw


def augmented(batch: Batch, config: TrainConfig, data: Data, step: int, rank: int) -> Batch:
    """Return `batch` with augmented images, which gradient accumulation does not change.

    A crop that was drawn from the original images is not drawn again, and cached views are of
    augmented images.
    """
    if isinstance(data, ViewData):
        return batch
    names = config.augmentation if data.originals is None else without_crop(config.augmentation)
    if not names:
        return batch
    seed = random_number(AUGMENTATION, config.seed, step, rank)
    return replace(batch, images=augment(batch.images, names, seed, own_changes(config)))


def micro_batches(batch: Batch, size: int) -> list[Batch]:
    """Return a process's share of a batch in micro-batches of at most `size` images.

    All processes get equally many. None has a single image, over which a layer may be unable to
    normalise, unless `size` is 1: three images stay one micro-batch even where `size` is 2.
    """
    width = len(batch.images)
    count = math.ceil(width / size)
    if size > 1:
        count = min(count, max(1, width // 2))
    if count == 1:
        return [batch]
    parts = (t.tensor_split(count) for t in (batch.images, batch.targets, batch.weights))
    return [
        Batch(images, targets, weights, batch.count)
        for images, targets, weights in zip(*parts, strict=True)
    ]


def require_micro_batch(network: Network, data: Data, attempt: Attempt) -> None:
    """Raise ConfigError if micro-batches are too small for batch normalisation or triplets.

    So too if a process has a single image of a batch, and images are to be mixed.

    A single image is too few for batch normalisation of 1x1 maps or of features, unless that is
    frozen. `network` is still on the CPU.
    """
    config, world, size = attempt.config, attempt.world, attempt.micro_batch_size
    given = f"batch_size = {config.batch_size}"
    if attempt.accumulation > 1:
        given += f" in {attempt.accumulation} gradient accumulation steps"
    # GPUs share statistics: they normalise over the images of all processes.
    if size == 1 and not (world.size > 1 and world.device.type == "cuda"):
        network.train()
        try:
            forward_shapes(network, data.image_size, data.channels)
        except ValueError as error:
            raise ConfigError(
                [
                    f"{given}: gives a process one image at a time, and {config.model} cannot"
                    f" normalise over one of {data.image_size} pixels ({error})"
                ]
            ) from None
    if is_mixed(config) and math.ceil(config.batch_size / world.size) == 1:
        raise ConfigError(
            [
                f"batch_size = {config.batch_size}: gives a process one image at a time, and mixup"
                " and cutmix mix those of a process in pairs"
            ]
        )
    if config.loss == "triplet" and size * world.size < TRIPLET:
        raise ConfigError([f"{given}: loss triplet needs at least {TRIPLET} images at a time"])


@dataclass
class Waiting:
    """Yields the batches of `source`, and adds up the seconds spent waiting for them."""

    source: Generator[Batch]
    seconds: float = 0.0

    def __iter__(self) -> Iterator[Batch]:
        with contextlib.closing(self.source):
            while True:
                asked = time.perf_counter()
                batch = next(self.source, None)
                self.seconds += time.perf_counter() - asked
                if batch is None:
                    return
                yield batch


def _send(array: NDArray[Any], world: World) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    if world.device.type == "cuda":
        return tensor.pin_memory().to(world.device, non_blocking=True)
    return tensor
