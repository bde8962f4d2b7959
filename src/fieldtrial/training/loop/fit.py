"""The training loop: a generator of epoch records."""

import math
import resource
import time
from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

import torch

from fieldtrial.command_line import say
from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.schemas import Inputs
from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.cached_views import with_views
from fieldtrial.training.freezing.feature_cache import with_features
from fieldtrial.training.freezing.low_rank import merge
from fieldtrial.training.freezing.moving_average import MovingAverage
from fieldtrial.training.freezing.schemes import freeze, refreeze, require_copies
from fieldtrial.training.freezing.trained_state import (
    can_be_built_again,
    frozen_digest,
    load_trained,
    whole_state,
)
from fieldtrial.training.inputs.facts import facts_of
from fieldtrial.training.inputs.record import cut_of, require_same_fold, result_entries
from fieldtrial.training.inputs.settle import settle
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import require_micro_batch, shuffled
from fieldtrial.training.loop.epoch import (
    Diverged,
    Epoch,
    EpochStatistics,
    Learner,
    Learning,
    Stopped,
    share_buffers,
)
from fieldtrial.training.loop.optimizers import learning_rate
from fieldtrial.training.loop.saving import Saver
from fieldtrial.training.loop.strategy import Strategy, prepare
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.models.kept import built
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource
from fieldtrial.training.models.utilization import ideal_seconds, utilization
from fieldtrial.training.models.weights import require_types
from fieldtrial.training.parts.metrics import try_metrics
from fieldtrial.training.tasks.interface import Scores
from fieldtrial.training.tasks.registry import task_of


class Fit:
    """The training of one trial.

    Attributes, once records have begun:
        network: on its device, with the weights of the last step. It takes the images of `data`.
        data: the trial's; features in the place of images where these are kept.
        progress: how far it is.
        facts: the numbers of `facts_of`, and what they depend on.
        is_over: set by its driver where nothing will go on from here, so that nothing is saved when
            the records are closed.
    """

    network: Network
    data: Data
    facts: dict[str, Any]
    _inputs: Inputs
    _whole: tuple[Network, Data]  # without features in the place of images

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.progress = TrialProgress()
        self.is_over = False
        self._frozen: dict[str, Any] = {}
        self._ideal_seconds: float | None = None  # for an image, on GPUs
        self._is_kept = False  # the frozen part, by a file of weights
        self._saver = Saver(attempt.run, attempt.number)

    @property
    def is_partitioned(self) -> bool:
        """Whether ZeRO has its hands on the network: its checkpoints are whole."""
        return self.attempt.world.size > 1 and self.attempt.config.strategy != "ddp"

    def records(self) -> Generator[Record]:
        """Train, and yield one record per epoch, the first before any training (epoch 0).

        Checkpoints are saved after epochs, as `Saver` says, with the record in them. The caller may
        close the generator at any yield; then the checkpoint of that epoch is saved. It may be
        killed at any time. Called again, it yields the last checkpoint's record once more and
        continues from there to the same numbers; on one CPU process, bit for bit. If the newest
        checkpoint was damaged and an older one is used, the first record has a `notice` that says
        so.

        A record's scores are those of `scores_of`. Its `seconds` are those of training and
        evaluation, without the checkpoint; its `held_seconds` are all since the attempt began, and
        `alone_seconds` all that the trial had taken alone, from nothing, see `DeviceClock`; `lr` is
        that of the epoch's last step. `images_per_second` is that of training alone, `data_wait`
        the share of training's time spent waiting for data, and `utilization`, on GPUs, that of the
        devices' arithmetic rate. Of a trial that trains as one with others, all seconds are its
        share, but for `group_seconds`, which are the group's `seconds`: so the speed and the
        utilization are the group's.

        If attempt.stop ends an epoch early, the records end with the last whole epoch.

        Raises:
            Diverged: a loss is not finite.
            ConfigError: bad input, a checkpoint of another config, or data or weights that are not
                those that the run began with; see `settle`.
            Superseded: at the end of an epoch, a newer attempt has begun.
            OSError: a checkpoint could not be written.
        """
        attempt = self.attempt
        config, run, world, clock = attempt.config, attempt.run, attempt.world, attempt.clock
        require_copies(config, world.size)
        data, network = self._open()
        require_micro_batch(network, data, attempt)
        saved, notice = checkpoint.load(run, config, world)
        self._inputs, changed = settle(run, config, (data, network), world, saved)
        if world.is_rank_0:
            say("\n".join(data.summary(config.dataset)))
        notices = [line for line in (notice, changed) if line]
        extra: Record = {"notice": "; ".join(notices)} if notices else {}  # of the first record
        self.progress = TrialProgress.of(saved["progress"]) if saved else TrialProgress()
        self.facts = (saved["facts"] if saved else facts_of(network, data)) | result_entries(
            self._inputs
        )
        if saved:
            checkpoint.restore(run, config, network, saved)
        if not self.is_partitioned:
            self._frozen = {"frozen": frozen_digest(network)}
            self._is_kept = can_be_built_again(network)
        self._whole = network.to(world.device), data
        # After the last epoch, nothing else begins to train: it is scored as it has ended.
        begun = self.progress.epoch + (self.progress.end(config) is None)
        refreeze(network, config.freeze, max(1, begun))
        self.network, self.data = self._with_features(*self._whole)
        self._ideal_seconds = ideal_seconds(self.network, world)
        learner = self._learning()
        try:
            if saved:
                learner.load_state(saved)
                clock.resume(self.progress.alone_seconds)
                yield saved["record"] | clock.entries() | extra
                extra = {}
            del saved  # a copy of the network and of the optimiser's state
            while not self.progress.end(config):
                learner = self._as_frozen(learner)
                record = self._epoch(learner)
                self._save(learner, record)
                try:
                    yield record | extra
                except GeneratorExit:
                    self._save_for_later(learner, record)
                    raise
                extra = {}
        except Stopped:
            pass
        finally:
            self._saver.close()
            learner.close()

    def _open(self) -> tuple[Data, Network]:
        """Return the trial's images and its network, as `open_trial` does."""
        return open_trial(self.attempt.config, self.attempt.run)

    def _with_features(self, network: Network, data: Data) -> tuple[Network, Data]:
        """Return the network and the data to train on; see `with_features` and `with_views`."""
        attempt = self.attempt
        config, world, clock = attempt.config, attempt.world, attempt.clock
        network, data = with_features(network, data, config, world, clock)
        return with_views(network, data, config, world, clock)

    def _learning(self) -> Learning:
        """Return what trains `network` on `data`."""
        attempt, network = self.attempt, self.network
        config, world, task = attempt.config, attempt.world, task_of(attempt.config)
        objective = task.objective(network, config, self.data, world)
        average = MovingAverage(network, config.ema_decay) if config.ema_decay else None
        return Learner(task, network, objective, self._strategy(), average)

    def _strategy(self) -> Strategy:
        attempt, config = self.attempt, self.attempt.config
        steps = math.ceil(len(self.data.train) / config.batch_size) * config.epochs
        strategy = prepare(self.network, config, attempt.world, attempt.accumulation, steps)
        attempt.note(strategy.facts)
        return strategy

    def _as_frozen(self, learner: Learning) -> Learning:
        """Return what trains the next epoch: `learner`, unless the epoch trains other layers.

        Then the state of the optimiser stays for the parameters that have trained so far, and is
        new for the others.
        """
        network, data = self._whole
        if not refreeze(network, self.attempt.config.freeze, max(1, self.progress.epoch + 1)):
            return learner
        assert isinstance(learner, Learner)
        state = learner.strategy.optimizer_state()
        learner.close()
        self.network, self.data = self._with_features(network, data)
        self._ideal_seconds = ideal_seconds(self.network, self.attempt.world)
        strategy = self._strategy()
        strategy.load_optimizer_state(state)
        return replace(learner, network=self.network, strategy=strategy)

    def _epoch(self, learner: Learning) -> Record:
        """Train for an epoch, and return its record. Raises Diverged and Stopped."""
        attempt, data, progress = self.attempt, self.data, self.progress
        config, world = attempt.config, attempt.world
        steps = math.ceil(len(data.train) / config.batch_size)
        number, plateaus = progress.epoch + 1, progress.plateaus
        epoch = (
            learner.train(attempt, data, number, plateaus)
            if number
            else evaluate_untrained(self.network, data, attempt)
        )
        training, validation, step = epoch.training, epoch.validation, number * steps
        for split, scores in (("training", training.scores), ("validation", validation)):
            if not math.isfinite(loss := scores["loss"]):
                raise Diverged(f"the {split} loss is {loss} after step {step} (epoch {number})")
        progress.add(validation, epoch.seconds, config)
        progress.alone_seconds = attempt.clock.alone
        return {
            "epoch": number,
            "step": step,
            **scores_of(training, validation),
            "lr": learning_rate(config, max(0, step - 1), steps * config.epochs, plateaus),
            "seconds": epoch.seconds,
            **({} if epoch.group_seconds is None else {"group_seconds": epoch.group_seconds}),
            **attempt.clock.entries(),
            "images_per_second": (speed := training.images / epoch.training_seconds),
            **utilization(speed, self._ideal_seconds, world),
            "data_wait": training.seconds_waited / epoch.training_seconds,
            "peak_memory_mb": peak_memory_mb(world),
            "best_epoch": progress.best_epoch,
        }

    def _save(self, learner: Learning, record: Record) -> None:
        """Save the checkpoint after an epoch if it is due, and keep the state if it is the best.

        Several processes give the state together, after every epoch. Raises Superseded if a newer
        attempt has begun.
        """
        self.attempt.require_newest()
        is_due = self.attempt.world.size > 1 or self._saver.is_due()
        if is_due or self.progress.best_epoch == self.progress.epoch:
            self._add(learner, record, is_due)

    def _save_for_later(self, learner: Learning, record: Record) -> None:
        """Save the checkpoint after the epoch that has just ended, if it is not, and wait for it.

        Several processes have saved it.
        """
        is_saved = self.attempt.world.size > 1 or self._saver.has(self.progress.epoch)
        if not self.is_over and not is_saved:
            self._add(learner, record, is_due=True)
        self._saver.finish()

    def _add(self, learner: Learning, record: Record, is_due: bool) -> None:
        config, progress = self.attempt.config, self.progress
        state = learner.state(is_last=progress.end(config) is not None)
        if self.attempt.world.is_rank_0:
            about = {"record": record, "facts": self.facts, "inputs": self._inputs, **self._frozen}
            state |= {"config": config.to_dict(), "progress": asdict(progress), **about}
            if is_due and self._frozen and not self._is_kept:
                checkpoint.keep_frozen(self.attempt.run, self.network)
            self._saver.add(state, is_due)

    def load_best(self, best: dict[str, torch.Tensor]) -> None:
        """Copy what `best` returned into the network, and merge what was added to its layers."""
        load_trained(self.network, best)
        merge(self.network)

    def whole(self, best: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the network's whole state with what `best` returned."""
        if self.is_partitioned:
            return best
        if self.network.adapted:
            self.load_best(best)
        return whole_state(self.network, best)

    def best(self) -> dict[str, torch.Tensor]:
        """Return, to all processes, the "model" of the best epoch, once the records have ended.

        Raises:
            OSError: the last checkpoint could not be written.
        """
        self._saver.finish()
        self.attempt.world.broadcast(None)  # the others read what rank 0 has written
        return self._saver.best(self.progress.best_epoch)


def evaluate_untrained(network: Network, data: Data, attempt: Attempt) -> Epoch:
    """Return the scores of an untrained network on as many training images as validation has."""
    sample = shuffled(data.train, attempt.config, 0)[: len(data.validation)]
    task, started = task_of(attempt.config), time.perf_counter()
    scores = task.evaluate(network, data, sample, attempt)
    names = ("loss", *task.seen)
    training = EpochStatistics({name: scores[name] for name in names}, len(sample))
    seconds = time.perf_counter() - started
    share_buffers(network, attempt.world)
    validation = task.evaluate(network, data, data.validation, attempt)
    return Epoch(training, validation, seconds, time.perf_counter() - started)


def scores_of(training: EpochStatistics, validation: Scores) -> Record:
    """Return a record's entries about an epoch's learning.

    Epoch 0's train_loss and train_accuracy are an evaluation on as many training images as
    validation has; later epochs' are those seen while training, of mixed images with the class of
    the larger share, and only they have the mean norm of
    the gradient and the mean ratio of updates to weights; see `EpochStatistics`. validation_loss is
    the cross-entropy, whatever the loss. Other tasks have other metrics.
    """
    by_split = (("train", training.scores), ("validation", validation))
    scores = {f"{split}_{name}": value for split, own in by_split for name, value in own.items()}
    learning = {"gradient_norm": training.gradient_norm, "update_ratio": training.update_ratio}
    return scores | {name: value for name, value in learning.items() if value is not None}


def open_trial(config: TrainConfig, run: Run) -> tuple[Data, Network]:
    """Return the trial's images, and its network on the CPU: initialised, frozen as configured.

    What is frozen may change over the epochs: it is frozen as in the last, in which most trains.
    """
    source = ModelSource.of(config, run.path)
    require_same_fold(config, source.run)
    data = task_of(config).load(config, source.image_size, cut_of(run, config), source.recipe)
    try_metrics(config, data.targets(data.validation), len(data.class_names))
    network = built(source, data)
    options = config.options_of("freeze")
    freeze(network, config.freeze, config.epochs, config.seed, options)
    require_types(network.state_dict())
    return data, network


def peak_memory_mb(world: World) -> float:
    """Return the peak memory in MB: of the trial on a GPU; of the process on a CPU."""
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
