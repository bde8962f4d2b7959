"""One epoch of training."""

import contextlib
import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.moving_average import MovingAverage
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import (
    DROPOUT,
    Batch,
    Waiting,
    batches,
    crops,
    micro_batches,
    order_of,
    random_number,
)
from fieldtrial.training.loop.optimizers import learning_rate, total_norm
from fieldtrial.training.loop.strategy import Strategy
from fieldtrial.training.models.network import Network
from fieldtrial.training.tasks.interface import Objective, Scores, Task

CHECK_EVERY = 50  # steps between two checks of the losses: each waits for the device
# Steps per epoch whose gradient and update are measured, which needs a copy of the weights.
MEASURED = 3
MEASURED_OF = 32  # one step in so many at most, but one in any case
MOST_HELD = 2**22  # numbers among the outputs that are kept until they are counted


class Diverged(FloatingPointError):  # noqa: N818 (what happened to the trial; no fault of the program)
    """A loss is no longer a finite number; the message names the step and the epoch."""


class Stopped(Exception):  # noqa: N818 (it was asked for)
    """An epoch was left in its middle, by all processes together."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch has come to.

    Attributes:
        training: its statistics.
        validation: the scores after it.
        training_seconds: of the training alone.
        seconds: of training and validation. Of a trial that trains as one with others, both are its
            share.
        group_seconds: of training and validation of all trials that train as one with this one;
            None if there are none.
    """

    training: "EpochStatistics"
    validation: Scores
    training_seconds: float
    seconds: float
    group_seconds: float | None = None


class Learning(Protocol):
    """What trains a trial's network, epoch by epoch."""

    def train(self, attempt: Attempt, data: Data, epoch: int, plateaus: int) -> Epoch:
        """Train for an epoch and validate; see `train_epoch`, and for what is raised."""

    def state(self, is_last: bool) -> dict[str, Any]:
        """Return a checkpoint's entries, to rank 0: model, optimizer and loss."""

    def load_state(self, saved: dict[str, Any]) -> None:
        """Continue with what a checkpoint holds beside the network's weights."""

    def close(self) -> None:
        """Release what outlives the object: the trial has ended."""


@dataclass(frozen=True)
class Learner:
    """What learns: its task, the network, its loss, and the strategy that takes the steps.

    average: of the network's weights, which is validated and kept in their place.
    """

    task: Task
    network: Network
    objective: Objective
    strategy: Strategy
    average: MovingAverage | None = None

    def train(self, attempt: Attempt, data: Data, epoch: int, plateaus: int) -> Epoch:
        """See Learning."""
        started = time.perf_counter()
        training = train_epoch(attempt, self, data, epoch, plateaus)
        training_seconds = time.perf_counter() - started
        share_buffers(self.network, attempt.world)
        with self.average.in_network() if self.average else contextlib.nullcontext():
            if self.average:
                share_buffers(self.network, attempt.world)
            validation = self.task.evaluate(self.network, data, data.validation, attempt)
        return Epoch(training, validation, training_seconds, time.perf_counter() - started)

    def state(self, is_last: bool) -> dict[str, Any]:
        """Return a checkpoint's entries, to rank 0.

        The last checkpoint has no optimiser state, two thirds of its size with Adam: nothing
        continues from it.
        """
        state: dict[str, Any] = {
            "model": self.strategy.model_state(),
            "optimizer": {} if is_last else self.strategy.optimizer_state(),
            "loss": self.objective.state(),
        }
        if self.average:
            state["model"] = self.average.averaged(state["model"])
            state["unaveraged"] = {} if is_last else self.average.unaveraged()
        return state

    def load_state(self, saved: dict[str, Any]) -> None:
        """Continue with what a checkpoint holds beside the network's weights."""
        if self.average:
            self.average.load(saved["unaveraged"])
        self.objective.load_state(saved.get("loss", {}))  # older checkpoints lack it
        self.strategy.load_optimizer_state(saved["optimizer"])

    def close(self) -> None:
        """See Learning."""
        self.strategy.close()


@dataclass(frozen=True)
class EpochStatistics:
    """What an epoch of training was like; the last two are None where nothing was learned.

    Attributes:
        scores: the loss, and what the task counts, on the training images while the weights change.
        images: how many were seen.
        seconds_waited: for data.
        gradient_norm: mean, over the measured steps, of the whole gradient's Euclidean norm, before
            clipping; see `measured_steps`.
        update_ratio: mean, over the same steps, of |change of the weights| / |weights|.
    """

    scores: Scores
    images: int
    seconds_waited: float = 0.0
    gradient_norm: float | None = None
    update_ratio: float | None = None


def train_epoch(
    attempt: Attempt, learner: Learner, data: Data, epoch: int, plateaus: int = 0
) -> EpochStatistics:
    """Train on each training image once, or as `sampling` says; return the epoch's statistics.

    The loss is the one that is minimised: with label smoothing, weights of the classes, mixed and
    augmented images and dropout, while the network changes. `plateaus` is how many plateaus of
    validation came before; schedule plateau follows them. Gradient accumulation takes the same step
    but for rounding, for dropout's random numbers, and for batch normalisation, whose statistics
    are a micro-batch's.

    Raises:
        Diverged: a loss or a gradient is not finite; in all processes together.
        Stopped: attempt.stop has returned True.
    """
    config, world = attempt.config, attempt.world
    network, objective, strategy = learner.network, learner.objective, learner.strategy
    task = learner.task
    # Dropout is seeded per epoch, so that a checkpoint need not hold a generator's state.
    torch.manual_seed(random_number(DROPOUT, config.seed, epoch, world.rank))
    network.train()
    steps = math.ceil(len(data.train) / config.batch_size)
    first = (epoch - 1) * steps
    meter = StepMeter(task, strategy, world)
    order = order_of(data, config, epoch)
    draw = crops(data, config, first, world.rank)
    waiting = Waiting(batches(data, order, config.batch_size, world, draw))
    most, total_steps = attempt.micro_batch_size, steps * config.epochs
    measured = measured_steps(steps)
    for i, batch in enumerate(waiting):
        step = first + i
        batch = task.augment(batch, config, data, step, world.rank)
        parts = micro_batches(batch, most)
        is_padded = len(batch.targets) * world.size > batch.count
        for number, part in enumerate(parts, start=1):
            with strategy.accumulate(is_last=number == len(parts)):
                outputs = strategy.forward(part.images)
                weights = part.weights if is_padded else None
                loss, summed_loss = objective(outputs, part.targets, weights)
                # Strategies average over processes: this makes it the mean over the global batch.
                strategy.backward(loss, world.size / batch.count)
            meter.add(i, summed_loss, outputs.detach(), part)
        objective.end_batch()
        lr = learning_rate(config, step, total_steps, plateaus)
        if i in measured:
            meter.before_step()
            meter.after_step(strategy.step(lr, measured=True))
        else:
            strategy.step(lr)
        if learner.average:
            learner.average.update()
        if (i + 1) % CHECK_EVERY == 0 or i + 1 == steps:
            meter.require_finite(i + 1, first, epoch)
        if i + 1 < steps and _must_stop(attempt, i + 1):
            raise Stopped
    return meter.statistics(epoch, len(data.train), waiting.seconds)


def share_buffers(network: Network, world: World) -> None:
    """Overwrite batch normalisation's statistics, which differ between processes, with rank 0's."""
    for buffer in network.buffers():
        world.broadcast_tensor(buffer)


def _must_stop(attempt: Attempt, step: int) -> bool:
    """Return, to all processes, whether the epoch is to be left.

    Several processes ask rank 0 every CHECK_EVERY steps: agreeing after each step takes too long.
    """
    if attempt.stop is None:
        return False
    if attempt.world.size == 1:
        return attempt.stop()
    return step % CHECK_EVERY == 0 and attempt.world.any(attempt.world.is_rank_0 and attempt.stop())


class StepMeter:
    """Collects the numbers of an epoch's steps on the device, without waiting for it.

    A step only keeps tensors that it has: what is counted in them is counted for many steps at
    once, because on small networks each operation takes a few hundredths of a step.
    """

    def __init__(self, task: Task, strategy: Strategy, world: World) -> None:
        self._task = task
        self._strategy = strategy
        self._world = world
        # Of the micro-batches since losses were last looked at: their steps and summed losses.
        self._losses: list[tuple[int, torch.Tensor]] = []
        # Of the micro-batches that are not counted yet: outputs, targets and weights.
        self._answers: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._held = 0
        self._loss = 0.0
        self._seen = torch.zeros(len(task.seen), dtype=torch.float64, device=world.device)
        self._norms: list[torch.Tensor | float] = []
        self._before: list[torch.Tensor] = []
        self._updates: list[torch.Tensor] = []

    def add(self, step: int, loss: torch.Tensor, outputs: torch.Tensor, part: Batch) -> None:
        """Add a micro-batch's summed loss, and the outputs that the task counts in."""
        self._losses.append((step, loss))
        if self._task.seen:
            self._answers.append((outputs, part.targets, part.weights))
            self._held += outputs.numel()
            if self._held > MOST_HELD:
                self._count()

    def before_step(self) -> None:
        """Copy the weights: the update of this step is to be measured."""
        self._before = [weights.clone() for weights in self._strategy.weights()]

    def after_step(self, norm: torch.Tensor | float | None) -> None:
        """Note the norm of the gradient, and how far the weights have moved."""
        if norm is not None:
            self._norms.append(norm)
        if self._before:
            weights = total_norm(self._before)
            torch._foreach_sub_(self._before, self._strategy.weights())
            change = total_norm(self._before)
            self._updates.append(torch.stack([change, weights]).double().square())
            self._before = []

    def require_finite(self, end: int, first: int, epoch: int) -> None:
        """Raise Diverged, in all processes together, if a loss before step `end` is not finite."""
        self._count()
        steps, losses = zip(*self._losses, strict=True)
        assert steps[-1] < end
        for step, loss in zip(steps, self._world.sum(torch.stack(losses)).tolist(), strict=True):
            if not math.isfinite(loss):
                name = first + step + 1
                raise Diverged(f"the training loss is {loss} at step {name} (epoch {epoch})")
            self._loss += loss
        self._losses = []

    def statistics(self, epoch: int, images: int, seconds_waited: float) -> EpochStatistics:
        """Return the epoch's statistics. Raises Diverged if a gradient's norm is not finite."""
        sums = [self._loss, *self._world.sum(self._seen).tolist()]
        names = ("loss", *self._task.seen)
        scores = {name: value / images for name, value in zip(names, sums, strict=True)}
        norms = [float(norm) for norm in self._norms]  # the same in all processes
        gradient_norm = sum(norms) / len(norms)
        if not math.isfinite(gradient_norm):
            raise Diverged(f"a gradient's norm is {gradient_norm} in epoch {epoch}")
        change, weights = self._world.sum(torch.stack(self._updates)).sqrt().T
        ratios = (change / weights)[weights > 0]  # biases alone may start at 0
        ratio = float(ratios.mean()) if len(ratios) else 0.0
        return EpochStatistics(scores, images, seconds_waited, gradient_norm, ratio)

    def _count(self) -> None:
        if self._answers:
            outputs, targets, weights = zip(*self._answers, strict=True)
            together = torch.cat(outputs), torch.cat(targets), torch.cat(weights)
            self._seen += self._task.count_seen(*together)
            self._answers, self._held = [], 0


def measured_steps(steps: int) -> set[int]:
    """Return the numbers of the steps that are measured, spread evenly over an epoch of `steps`.

    They are MEASURED, or one in MEASURED_OF where that is fewer, but at least one.
    """
    count = max(1, min(MEASURED, steps // MEASURED_OF))
    return {(2 * n + 1) * steps // (2 * count) for n in range(count)}
