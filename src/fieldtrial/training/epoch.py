"""One pass over images: the batches of this process, a training epoch, an evaluation."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.training.augment import augment
from fieldtrial.training.data import Data
from fieldtrial.training.freezing import hold_frozen
from fieldtrial.training.network import Network, forward_shapes
from fieldtrial.training.optimizers import learning_rate
from fieldtrial.training.strategy import Strategy
from fieldtrial.training.world import World

CHECK_EVERY = 50  # steps between two looks at the losses: each look waits for the device
EVALUATION_IMAGES = 256  # per process and batch, and fewer where they are large:
EVALUATION_PIXELS = 2**20

ORDER, DROPOUT, AUGMENTATION = 1, 2, 3  # what a random number is for

Indices = NDArray[np.int64]


class Diverged(FloatingPointError):  # noqa: N818 (what happened to the trial; no fault of the program)
    """A loss is no longer a finite number; the message names the step and the epoch."""


@dataclass(frozen=True)
class Batch:
    """This process's part of a global batch of `count` images.

    `images` are uint8 (n, height, width, channels), `labels` int64 (n,); `weights`, float (n,), are 1, or 0 for an
    image that only fills the batch up, because all processes take equally many.
    """

    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    count: int


@dataclass(frozen=True)
class Scores:
    """Mean loss and share of correct answers over all images, on all processes together."""

    loss: float
    accuracy: float


class Stopped(Exception):  # noqa: N818 (it was asked for)
    """An epoch was left in its middle, by all processes together."""


def random_number(*numbers: int) -> int:
    """Return a seed from 0 to 2**64 - 1, as good as independent for each sequence of `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def shuffled(indices: Indices, config: TrainConfig, epoch: int) -> Indices:
    """Return `indices` in the order of `epoch`: the same on all processes, whatever ran before."""
    return np.random.default_rng([ORDER, config.seed, epoch]).permutation(indices)


def batches(data: Data, order: Indices, size: int, world: World) -> Iterator[Batch]:
    """Yield this process's part of each global batch of `size` images, on its device, in `order`.

    Process r takes every world.size-th image from the r-th on. Short parts are filled up with images of weight 0: to
    the longest one, and where a whole batch has more images than there are processes, to two. So a process gets a
    single image only of batches of at most one for each process; see `require_normalisable`.
    """
    for start in range(0, len(order), size):
        count = min(size, len(order) - start)
        width = max(math.ceil(count / world.size), min(2, math.ceil(size / world.size)))
        places = start + np.arange(world.rank, width * world.size, world.size)
        chosen = np.take(order, places, mode="wrap")
        images, labels = torch.from_numpy(np.asarray(data.images[chosen])), torch.from_numpy(data.labels[chosen])
        weights = torch.from_numpy((places < start + count).astype(np.float32))
        yield Batch(_send(images, world), _send(labels, world), _send(weights, world), count)


def piece_size(config: TrainConfig, world: World, accumulate: int) -> int:
    """Return how many images a process trains on at once where each batch is cut into `accumulate` pieces."""
    return math.ceil(math.ceil(config.batch_size / world.size) / accumulate)


def pieces(batch: Batch, size: int) -> list[Batch]:
    """Return a process's part of a batch in pieces of at most `size` images, as many in all processes.

    None is a single image, over which a layer may be unable to normalise, unless `size` is 1: three images are one
    piece of three even where `size` is 2.
    """
    width = len(batch.images)
    count = math.ceil(width / size) if size == 1 else min(math.ceil(width / size), max(1, width // 2))
    cut = [tensor.tensor_split(count) for tensor in (batch.images, batch.labels, batch.weights)]
    return [Batch(images, labels, weights, batch.count) for images, labels, weights in zip(*cut, strict=True)]


def require_normalisable(network: Network, data: Data, config: TrainConfig, world: World, accumulate: int = 1) -> None:
    """Raise ConfigError where a process trains on one image at a time and a layer cannot normalise over one.

    Such is batch normalisation of 1x1 maps or of features, unless it is frozen. `network` is still on the CPU.
    """
    if piece_size(config, world, accumulate) > 1 or (world.size > 1 and world.device.type == "cuda"):
        return  # GPUs normalise over the images of all processes
    network.train()
    hold_frozen(network)
    try:
        forward_shapes(network, data.image_size, data.channels)
    except ValueError as error:
        raise ConfigError(
            [
                f"batch_size = {config.batch_size}{_cut_into(accumulate)}: gives a process one image at a time, and "
                f"{config.model} cannot normalise over one of {data.image_size} pixels ({error})"
            ]
        ) from None


def evaluate(
    network: Network, data: Data, indices: Indices, batch_size: int, world: World, accumulate: int = 1
) -> Scores:
    """Return how well `network` does on the images `indices`: in evaluation mode, without label smoothing."""
    totals = torch.zeros(2, dtype=torch.float64, device=world.device)
    for batch, logits in forward(network, data, indices, batch_size, world, accumulate):
        losses = functional.cross_entropy(logits, batch.labels, reduction="none")
        totals += _sums(losses, logits, batch)
    loss, correct = (world.sum(totals) / len(indices)).tolist()
    return Scores(loss, correct)


@torch.no_grad()  # not inference_mode: ZeRO gathers parameters in here that are trained on afterwards
def forward(
    network: Network, data: Data, indices: Indices, batch_size: int, world: World, accumulate: int = 1
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Yield this process's batches of the images `indices`, in order, with their logits in evaluation mode.

    `batch_size` is the trial's, which fits into memory when cut into `accumulate` pieces; batches of small images are
    larger, and are cut alike.
    """
    network.eval()
    most = max(math.ceil(batch_size / world.size), min(EVALUATION_IMAGES, EVALUATION_PIXELS // data.image_size**2))
    per_process = math.ceil(most / accumulate)
    for batch in batches(data, indices, per_process * world.size, world):
        yield batch, network(batch.images)


@dataclass
class Waiting:
    """Hands on the batches of `source`, and adds up the seconds spent waiting for them."""

    source: Iterator[Batch]
    seconds: float = 0.0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            asked = time.perf_counter()
            batch = next(self.source, None)
            self.seconds += time.perf_counter() - asked
            if batch is None:
                return
            yield batch


def train_epoch(
    strategy: Strategy,
    network: Network,
    data: Data,
    config: TrainConfig,
    epoch: int,
    world: World,
    accumulate: int = 1,
    stop: Callable[[], bool] | None = None,
) -> tuple[Scores, float]:
    """Train on each training image once; return the scores along the way, and the seconds spent waiting for data.

    The loss is the one that is minimised: with label smoothing, augmentation and dropout, while the weights change.
    With `accumulate` above 1, each process's part of a batch goes through the network in as many pieces, for less
    memory. The step is the same but for rounding, for dropout's random numbers and for the statistics of batch
    normalisation, which are those of a piece.

    Raises:
        Diverged: in all processes together.
        Stopped: `stop`, which is asked after each step, has said so; several processes ask the first's now and then.
    """
    torch.manual_seed(
        random_number(DROPOUT, config.seed, epoch, world.rank)
    )  # dropout's; a checkpoint need not hold it
    network.train()
    hold_frozen(network)
    steps = math.ceil(len(data.train) / config.batch_size)
    sums = torch.zeros(steps, 2, dtype=torch.float64, device=world.device)
    waiting = Waiting(batches(data, shuffled(data.train, config, epoch), config.batch_size, world))
    size = piece_size(config, world, accumulate)
    checked = 0
    for i, batch in enumerate(waiting):
        step = (epoch - 1) * steps + i
        if config.augmentation:  # before it is cut, so that an image looks the same however that is done
            scaled = batch.images.permute(0, 3, 1, 2).float() / 255
            seed = random_number(AUGMENTATION, config.seed, step, world.rank)
            batch = replace(batch, images=augment(scaled, config.augmentation, seed))
        sums[i] = _learn(strategy, pieces(batch, size), config, world)
        strategy.step(learning_rate(config, step, steps * config.epochs))
        if (i + 1) % CHECK_EVERY == 0 or i + 1 == steps:
            _check(world.sum(sums[checked : i + 1, 0]), (epoch - 1) * steps + checked, epoch)
            checked = i + 1
        if stop and i + 1 < steps and _must_stop(stop, i + 1, world):
            raise Stopped
    loss_mean, accuracy = (world.sum(sums.sum(0)) / len(data.train)).tolist()
    return Scores(loss_mean, accuracy), waiting.seconds


def _learn(strategy: Strategy, cut: list[Batch], config: TrainConfig, world: World) -> torch.Tensor:
    """Gather the gradient of this process's part of a batch, piece by piece; return the sums as `_sums` does."""
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    for number, piece in enumerate(cut, start=1):
        with strategy.piece(is_last=number == len(cut)):
            logits = strategy.forward(piece.images)
            losses = functional.cross_entropy(
                logits, piece.labels, label_smoothing=config.label_smoothing, reduction="none"
            )
            # strategies average over the processes: this is then the mean over the global batch, however it was cut
            strategy.backward((losses * piece.weights).sum() * (world.size / piece.count))
        sums += _sums(losses.detach(), logits.detach(), piece)
    return sums


def _must_stop(stop: Callable[[], bool], step: int, world: World) -> bool:
    """Return, to all processes, whether the first is to stop: to agree on that after every step would take long."""
    if world.size == 1:
        return stop()
    return step % CHECK_EVERY == 0 and world.any(world.is_main and stop())


def _cut_into(accumulate: int) -> str:
    return f", cut into {accumulate} because more images did not fit into memory" if accumulate > 1 else ""


def _sums(losses: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the sum of the losses and the number of correct answers, float64 (2,), without waiting for the device."""
    correct = (logits.argmax(1) == batch.labels) * batch.weights
    return torch.stack([(losses * batch.weights).sum(), correct.sum()]).double()


def _check(losses: torch.Tensor, first_step: int, epoch: int) -> None:
    wrong = torch.nonzero(~torch.isfinite(losses))
    if len(wrong):
        place = int(wrong[0])
        raise Diverged(f"the training loss is {losses[place]} at step {first_step + place + 1} (epoch {epoch})")


def _send(tensor: torch.Tensor, world: World) -> torch.Tensor:
    if world.device.type == "cuda":
        return tensor.pin_memory().to(world.device, non_blocking=True)
    return tensor
