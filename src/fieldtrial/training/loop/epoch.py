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
from fieldtrial.training.augment.transforms import augment
from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.losses import Objective
from fieldtrial.training.loop.optimizers import learning_rate, total_norm
from fieldtrial.training.loop.strategy import Strategy
from fieldtrial.training.models.network import Network, forward_shapes

CHECK_EVERY = 50  # steps between two looks at the losses: each look waits for the device
UPDATES = (
    3  # steps of an epoch whose updates are measured: each needs a copy of the weights for its time
)
EVALUATION_IMAGES = 256  # per process and batch, and fewer where they are large:
EVALUATION_PIXELS = 2**20

ORDER, DROPOUT, AUGMENTATION = 1, 2, 3  # what a random number is for

Indices = NDArray[np.int64]


class Diverged(FloatingPointError):  # noqa: N818 (what happened to the trial; no fault of the program)
    """A loss is no longer a finite number; the message names the step and the epoch."""


@dataclass(frozen=True)
class Batch:
    """This process's part of a global batch of `count` images.

    `images` are uint8 (n, height, width, channels), `labels` int64 (n,); `weights`, float (n,), are
    1, or 0 for an image that only fills the batch up, because all processes take equally many.
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


@dataclass(frozen=True)
class Training:
    """What an epoch of training was like; the last two are None where nothing was learned.

    Attributes:
        scores: those along the way.
        images: how many were seen.
        seconds_waited: for data.
        gradient_norm: mean over the steps of the whole gradient's Euclidean norm, before clipping.
        update_ratio: mean, over UPDATES steps spread over the epoch, of |change of the weights| /
        |weights|.
    """

    scores: Scores
    images: int
    seconds_waited: float = 0.0
    gradient_norm: float | None = None
    update_ratio: float | None = None


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

    Process r takes every world.size-th image from the r-th on. Short parts are filled up with
    images of weight 0: to the longest one, and where a whole batch has more images than there are
    processes, to two. So a process gets a single image only of batches of at most one for each
    process; see `require_normalisable`.
    """
    for start in range(0, len(order), size):
        count = min(size, len(order) - start)
        width = max(math.ceil(count / world.size), min(2, math.ceil(size / world.size)))
        places = start + np.arange(world.rank, width * world.size, world.size)
        chosen = np.take(order, places, mode="wrap")
        images, labels = (
            torch.from_numpy(np.asarray(data.images[chosen])),
            torch.from_numpy(data.labels[chosen]),
        )
        weights = torch.from_numpy((places < start + count).astype(np.float32))
        yield Batch(_send(images, world), _send(labels, world), _send(weights, world), count)


def piece_size(config: TrainConfig, world: World, accumulate: int) -> int:
    """Return how many images a process trains on at once where each batch is cut into `accumulate`
    pieces.
    """
    return math.ceil(math.ceil(config.batch_size / world.size) / accumulate)


def pieces(batch: Batch, size: int) -> list[Batch]:
    """Return a process's part of a batch in pieces of at most `size` images, as many in all
    processes.

    None is a single image, over which a layer may be unable to normalise, unless `size` is 1: three
    images are one piece of three even where `size` is 2.
    """
    width = len(batch.images)
    count = (
        math.ceil(width / size) if size == 1 else min(math.ceil(width / size), max(1, width // 2))
    )
    cut = [tensor.tensor_split(count) for tensor in (batch.images, batch.labels, batch.weights)]
    return [
        Batch(images, labels, weights, batch.count)
        for images, labels, weights in zip(*cut, strict=True)
    ]


def require_normalisable(
    network: Network, data: Data, config: TrainConfig, world: World, accumulate: int = 1
) -> None:
    """Raise ConfigError where a process trains on one image at a time and a layer cannot normalise
    over one.

    Such is batch normalisation of 1x1 maps or of features, unless it is frozen. `network` is still
    on the CPU.
    """
    if piece_size(config, world, accumulate) > 1 or (
        world.size > 1 and world.device.type == "cuda"
    ):
        return  # GPUs normalise over the images of all processes
    network.train()
    try:
        forward_shapes(network, data.image_size, data.channels)
    except ValueError as error:
        raise ConfigError(
            [
                f"batch_size = {config.batch_size}{_cut_into(accumulate)}: gives a process one"
                f" image at a time, and {config.model} cannot normalise over one of"
                f" {data.image_size} pixels ({error})"
            ]
        ) from None


def evaluate(
    network: Network,
    data: Data,
    indices: Indices,
    batch_size: int,
    world: World,
    accumulate: int = 1,
) -> Scores:
    """Return how well `network` does on the images `indices`: in evaluation mode, without label
    smoothing.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=world.device)
    for batch, logits in forward(network, data, indices, batch_size, world, accumulate):
        losses = functional.cross_entropy(logits, batch.labels, reduction="none")
        totals += _sums((losses * batch.weights).sum(), logits, batch)
    loss, correct = (world.sum(totals) / len(indices)).tolist()
    return Scores(loss, correct)


# not inference_mode: ZeRO gathers parameters in here that are trained on afterwards
@torch.no_grad()
def forward(
    network: Network,
    data: Data,
    indices: Indices,
    batch_size: int,
    world: World,
    accumulate: int = 1,
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Yield this process's batches of the images `indices`, in order, with their logits in
    evaluation mode.

    `batch_size` is the trial's, which fits into memory when cut into `accumulate` pieces; batches
    of small images are larger, and are cut alike.
    """
    network.eval()
    most = max(
        math.ceil(batch_size / world.size),
        min(EVALUATION_IMAGES, EVALUATION_PIXELS // data.image_size**2),
    )
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
    objective: Objective,
    accumulate: int = 1,
    plateaus: int = 0,
    stop: Callable[[], bool] | None = None,
) -> Training:
    """Train on each training image once, after `plateaus` plateaus of validation; return what that
    was like.

    The loss is the one that is minimised: with label smoothing, augmentation and dropout, while the
    weights change. With `accumulate` above 1, each process's part of a batch goes through the
    network in as many pieces, for less memory. The step is the same but for rounding, for dropout's
    random numbers and for the statistics of batch normalisation, which are those of a piece.

    Raises:
        Diverged: in all processes together.
        Stopped: `stop`, which is asked after each step, has said so; several processes ask the
        first's now and then.
    """
    torch.manual_seed(
        random_number(DROPOUT, config.seed, epoch, world.rank)
    )  # dropout's; a checkpoint need not hold it
    network.train()
    steps = math.ceil(len(data.train) / config.batch_size)
    sums = torch.zeros(steps, 2, dtype=torch.float64, device=world.device)
    norms = torch.zeros(steps, dtype=torch.float64, device=world.device)
    measured = {(2 * number + 1) * steps // (2 * UPDATES) for number in range(UPDATES)}
    updates = []
    order = shuffled(data.train, config, epoch) if config.shuffle else data.train
    waiting = Waiting(batches(data, order, config.batch_size, world))
    size = piece_size(config, world, accumulate)
    checked = 0
    for i, batch in enumerate(waiting):
        step = (epoch - 1) * steps + i
        if (
            config.augmentation
        ):  # before it is cut, so that an image looks the same however that is done
            scaled = batch.images.permute(0, 3, 1, 2).float() / 255
            seed = random_number(AUGMENTATION, config.seed, step, world.rank)
            batch = replace(batch, images=augment(scaled, config.augmentation, seed))
        sums[i] = _learn(strategy, objective, pieces(batch, size), world)
        before = [weights.clone() for weights in strategy.weights()] if i in measured else []
        norms[i] = strategy.step(learning_rate(config, step, steps * config.epochs, plateaus))
        if before:
            updates.append(_change(before, strategy.weights()))
        if (i + 1) % CHECK_EVERY == 0 or i + 1 == steps:
            _check(world.sum(sums[checked : i + 1, 0]), (epoch - 1) * steps + checked, epoch)
            checked = i + 1
        if stop and i + 1 < steps and _must_stop(stop, i + 1, world):
            raise Stopped
    loss_mean, accuracy = (world.sum(sums.sum(0)) / len(data.train)).tolist()
    gradient_norm = float(norms.mean())  # the same in all processes
    if not math.isfinite(gradient_norm):
        raise Diverged(f"a gradient's norm is {gradient_norm} in epoch {epoch}")
    change, weights = world.sum(torch.stack(updates)).sqrt().T
    ratio = _mean_ratio(change, weights)
    return Training(
        Scores(loss_mean, accuracy), len(data.train), waiting.seconds, gradient_norm, ratio
    )


def _change(before: list[torch.Tensor], after: list[torch.Tensor]) -> torch.Tensor:
    """Return the squared norms of the change of the weights and of the weights, float64 (2,);
    `before` is used up.
    """
    weights = total_norm(before)
    torch._foreach_sub_(before, after)
    return torch.stack([total_norm(before), weights]).double().square()


def _mean_ratio(changes: torch.Tensor, weights: torch.Tensor) -> float:
    """Return the mean of changes / weights where there are weights: biases alone may start at 0."""
    ratios = (changes / weights)[weights > 0]
    return float(ratios.mean()) if len(ratios) else 0.0


def _learn(
    strategy: Strategy, objective: Objective, cut: list[Batch], world: World
) -> torch.Tensor:
    """Gather the gradient of this process's part of a batch, piece by piece; return the sums as
    `_sums` does.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=world.device)
    for number, piece in enumerate(cut, start=1):
        with strategy.piece(is_last=number == len(cut)):
            logits = strategy.forward(piece.images)
            loss, value = objective(logits, piece.labels, piece.weights)
            # strategies average over the processes: this is then the mean over the global batch,
            # however it was cut
            strategy.backward(loss * (world.size / piece.count))
        sums += _sums(value, logits.detach(), piece)
    objective.end_batch()
    return sums


def _must_stop(stop: Callable[[], bool], step: int, world: World) -> bool:
    """Return, to all processes, whether the first is to stop: to agree on that after every step
    would take long.
    """
    if world.size == 1:
        return stop()
    return step % CHECK_EVERY == 0 and world.any(world.is_main and stop())


def _cut_into(accumulate: int) -> str:
    return (
        f", cut into {accumulate} because more images did not fit into memory"
        if accumulate > 1
        else ""
    )


def _sums(loss: torch.Tensor, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the sum of the losses and the number of correct answers, float64 (2,), without waiting
    for the device.
    """
    correct = (logits.argmax(1) == batch.labels) * batch.weights
    return torch.stack([loss, correct.sum()]).double()


def _check(losses: torch.Tensor, first_step: int, epoch: int) -> None:
    wrong = torch.nonzero(~torch.isfinite(losses))
    if len(wrong):
        place = int(wrong[0])
        raise Diverged(
            f"the training loss is {losses[place]} at step {first_step + place + 1} (epoch {epoch})"
        )


def _send(tensor: torch.Tensor, world: World) -> torch.Tensor:
    if world.device.type == "cuda":
        return tensor.pin_memory().to(world.device, non_blocking=True)
    return tensor
