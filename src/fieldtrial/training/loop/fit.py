"""The training loop: a generator of epoch records."""

import math
import resource
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass

import torch

from fieldtrial.config import Select, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cache import with_features
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.epoch import (
    Diverged,
    Scores,
    Stopped,
    Training,
    evaluate,
    piece_size,
    require_normalisable,
    shuffled,
    train_epoch,
)
from fieldtrial.training.loop.losses import Objective, require_triplets
from fieldtrial.training.loop.optimizers import learning_rate
from fieldtrial.training.loop.strategy import prepare
from fieldtrial.training.models.network import (
    Network,
    count_flops,
    count_parameters,
    count_trainable,
)
from fieldtrial.training.models.source import ModelSource, build

# Of a loss and an accuracy: what the best epoch is best at, then what decides between equals; more
# is better.
RANKS: dict[Select, Callable[[float, float], tuple[float, float]]] = {
    "validation_accuracy": lambda loss, accuracy: (accuracy, -loss),
    "validation_loss": lambda loss, accuracy: (-loss, accuracy),
}


@dataclass
class Progress:
    """How far a trial is. Epoch 0, before any training, is the best one only until there is
    another.
    """

    epoch: int = -1  # the last one done
    best_epoch: int = 0
    best_loss: float = 0.0
    best_accuracy: float = 0.0
    rising_epoch: int = 0  # the last that was better at `select` than all before
    plateaus: int = 0  # how often there was none better for plateau_patience epochs
    plateau_epoch: int = 0  # the last time
    seconds: float = 0.0

    def add(self, validation: Scores, seconds: float, select: Select) -> None:
        """Note the end of another epoch."""
        self.epoch += 1
        self.seconds += seconds
        rank = RANKS[select]
        own, best = (
            rank(validation.loss, validation.accuracy),
            rank(self.best_loss, self.best_accuracy),
        )
        if self.epoch <= 1 or own[0] > best[0]:
            self.rising_epoch = self.epoch
        if self.epoch <= 1 or own > best:
            self.best_epoch, self.best_accuracy, self.best_loss = (
                self.epoch,
                validation.accuracy,
                validation.loss,
            )

    def find_plateau(self, patience: int) -> None:
        """Note whether there are, since the last plateau, now `patience` epochs without a better
        one.
        """
        if self.epoch - max(self.rising_epoch, self.plateau_epoch) >= patience:
            self.plateaus += 1
            self.plateau_epoch = self.epoch

    def end(self, config: TrainConfig) -> str | None:
        """Return why the trial is at its end, epochs or patience, or None if it is not."""
        if self.epoch >= config.epochs:
            return "epochs"
        impatient = (
            config.patience is not None and self.epoch - self.rising_epoch >= config.patience
        )
        return "patience" if impatient else None


class Superseded(ValueError):  # noqa: N818 (what happened to the attempt; no fault of the program)
    """A newer attempt at the same run is at work, so that this one must write no more; the message
    says which.
    """


def give_way(run: Run, attempt: int, world: World) -> None:
    """Raise Superseded, in all processes together, if an attempt newer than `attempt` has begun."""
    newest = world.broadcast(max(run.attempts(), default=0) if world.is_main else 0)
    if newest > attempt:
        raise Superseded(f"{run.path}: attempt {newest} has taken over from attempt {attempt}")


def fit(
    config: TrainConfig,
    run: Run,
    world: World,
    attempt: int = 1,
    accumulate: int = 1,
    stop: Callable[[], bool] | None = None,
) -> Generator[Record]:
    """Train the trial of `run` and yield one record an epoch, the first before any training (epoch
    0).

    After each epoch the checkpoint is saved, with the record in it, and then the record is yielded:
    whoever drives this may close it at any yield, and may be killed at any time. Called again, it
    yields the last checkpoint's record once more and goes on from there to the same numbers; on one
    CPU process, bit for bit. If that is not the newest checkpoint, because that was damaged, the
    first record has a `notice` that says so.

    `accumulate` is into how many pieces each batch is cut, for less memory; see `train_epoch`. An
    attempt that finds a newer one's records at the end of an epoch leaves that epoch, and all
    others, to it. `stop` is asked while training: when it says so, the epoch is left, and the
    records end with the last.

    A record's scores are those of `scores_of`; its `seconds` those of training and evaluation,
    without the checkpoint.

    Raises:
        Diverged: a loss is not finite.
        ConfigError: bad input, or a checkpoint of another config.
        Superseded: a newer attempt is at work.
    """
    data, network = open_trial(config, run)
    require_normalisable(network, data, config, world, accumulate)
    require_triplets(config, piece_size(config, world, accumulate) * world.size)
    saved, notice = checkpoint.load(run, config, world)
    first: Record = {"notice": notice} if notice else {}
    progress = Progress(**saved["progress"]) if saved else Progress()
    facts = saved["facts"] if saved else describe(network, data)
    if saved:
        network.load_state_dict(saved["model"])
    network, data = with_features(network.to(world.device), data, config, world)
    objective = Objective(network, config, len(data.class_names), world)
    strategy = prepare(network, config, world)
    try:
        if saved:
            objective.load_state(
                saved.get("loss", {})
            )  # checkpoints of before there were such losses have none
            strategy.load_optimizer_state(saved["optimizer"])
            yield saved["record"] | first
        del saved
        steps = math.ceil(len(data.train) / config.batch_size)
        while not progress.end(config):
            epoch, plateaus, started = progress.epoch + 1, progress.plateaus, time.perf_counter()
            if epoch == 0:
                training = look_at_training(network, data, config, world, accumulate)
            else:
                training = train_epoch(
                    strategy,
                    network,
                    data,
                    config,
                    epoch,
                    world,
                    objective,
                    accumulate,
                    plateaus,
                    stop,
                )
            training_seconds = time.perf_counter() - started
            for buffer in (
                network.buffers()
            ):  # batch-norm's: each process has its own, from its part of the batches
                world.share(buffer)
            validation = evaluate(
                network, data, data.validation, config.batch_size, world, accumulate
            )
            if not math.isfinite(training.scores.loss + validation.loss):
                raise Diverged(
                    f"the validation loss is {validation.loss} after step {epoch * steps} (epoch"
                    f" {epoch})"
                )
            seconds = time.perf_counter() - started
            progress.add(validation, seconds, config.select)
            progress.find_plateau(config.plateau_patience)
            record: Record = {
                "epoch": epoch,
                "step": epoch * steps,
                **scores_of(training, validation),
            }
            record["lr"] = learning_rate(
                config, max(0, epoch * steps - 1), steps * config.epochs, plateaus
            )
            record |= {"seconds": seconds, "images_per_second": training.images / training_seconds}
            record |= {
                "data_wait": training.seconds_waited / seconds,
                "peak_memory_mb": peak_memory_mb(world),
            }
            record["best_epoch"] = progress.best_epoch
            # Of Adam two thirds of a checkpoint, and nothing goes on from the last one.
            optimizer_state = {} if progress.end(config) else strategy.optimizer_state()
            state = {
                "model": strategy.model_state(),
                "optimizer": optimizer_state,
                "loss": objective.state(),
            }
            state |= {
                "config": config.to_dict(),
                "progress": asdict(progress),
                "record": record,
                "facts": facts,
            }
            give_way(run, attempt, world)
            if world.is_main:
                checkpoint.save(run, state, epoch, progress.best_epoch)
            yield record | first if epoch == 0 else record
    except Stopped:
        return
    finally:
        strategy.close()


def look_at_training(
    network: Network, data: Data, config: TrainConfig, world: World, accumulate: int
) -> Training:
    """Return how well an untrained network does on as many training images as validation has."""
    sample = shuffled(data.train, config, 0)[: len(data.validation)]
    return Training(
        evaluate(network, data, sample, config.batch_size, world, accumulate), len(sample)
    )


def scores_of(training: Training, validation: Scores) -> Record:
    """Return a record's entries about an epoch's learning.

    Epoch 0's train_loss and train_accuracy are an evaluation on as many training images as
    validation has; later epochs' are those seen while training, and only they have the mean norm of
    the gradient and the mean ratio of updates to weights; see `Training`. validation_loss is the
    cross-entropy, whatever the loss.
    """
    scores = {
        "train_loss": training.scores.loss,
        "train_accuracy": training.scores.accuracy,
        "validation_loss": validation.loss,
        "validation_accuracy": validation.accuracy,
    }
    learning = {"gradient_norm": training.gradient_norm, "update_ratio": training.update_ratio}
    return scores | {name: value for name, value in learning.items() if value is not None}


def open_trial(config: TrainConfig, run: Run) -> tuple[Data, Network]:
    """Return the trial's images, and its network on the CPU with initial weights, frozen as the
    config says.
    """
    source = ModelSource.of(config, run.path)
    data = load(config, source.image_size)
    network = build(source, data.shape, data.mean, data.std)
    freeze(network, config.freeze)
    return data, network


def describe(network: Network, data: Data) -> dict[str, int]:
    """Return the numbers that the table gives about a trial's network and data."""
    return {
        "parameters": count_parameters(network),
        "trainable_parameters": count_trainable(network),
        "flops": count_flops(network, data.image_size, data.channels),
        "classes": len(data.class_names),
        "train_images": len(data.train),
        "validation_images": len(data.validation),
        "test_images": len(data.test),
    }


def peak_memory_mb(world: World) -> float:
    """Return the most memory in use so far: the trial's on a GPU; on a CPU the process's, earlier
    trials included.
    """
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
