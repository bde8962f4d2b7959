"""How far a trial is, which epoch is its best, and when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Criterion, TaskName
from fieldtrial.fields.task_metrics import (
    CHOOSING,
    choosing_metric,
    more_is_better,
)
from fieldtrial.training.tasks.interface import Scores


@dataclass
class TrialProgress:
    """How far a trial is. Checkpoints hold these fields.

    Epoch 0, before any training, is the best one only until there is another. With `select` last,
    the best epoch is the last one, and `validation_loss` is what gets better.

    Attributes:
        epoch: the last one done.
        best: the scores of the best epoch.
        rising_epoch: the last one that was better at `select` than all before.
        least_loss: the least validation loss so far.
        plateaus: how often no epoch was better for plateau_patience epochs.
        plateau_epoch: when that was so last.
        seconds: of training and evaluation.
        alone_seconds: that the trial had taken by then alone, from nothing; None: not known.
    """

    epoch: int = -1
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    rising_epoch: int = 0
    plateaus: int = 0
    plateau_epoch: int = 0
    least_loss: float = 0.0
    seconds: float = 0.0
    alone_seconds: float | None = None

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Self:
        """Return the progress in a checkpoint; earlier versions' have a field for each score."""
        values = dict(saved)
        own = {f"best_{name}": name for name in ("loss", "accuracy")}
        former = {own[name]: values.pop(name) for name in own if name in values}
        return cls(**{"best": former, **values})

    def add(self, validation: Scores, seconds: float, config: TrainConfig) -> None:
        """Note the end of another epoch.

        There is a plateau if none was better for plateau_patience epochs since the last plateau.
        """
        self.epoch += 1
        self.seconds += seconds
        keeps_last = config.select == "last"
        criterion = "validation_loss" if config.select == "last" else config.select
        rank = _rank(validation, criterion, config.task)
        best = _rank(self.best, criterion, config.task) if self.best else rank
        watched = (-self.least_loss,) if keeps_last else best
        if self.epoch <= 1 or rank[0] > watched[0]:
            self.rising_epoch = self.epoch
        if self.epoch <= 1 or validation["loss"] < self.least_loss:
            self.least_loss = validation["loss"]
        if self.epoch <= 1 or keeps_last or rank > best:
            self.best_epoch = self.epoch
            self.best = dict(validation)
        if self.epoch - max(self.rising_epoch, self.plateau_epoch) >= config.plateau_patience:
            self.plateaus += 1
            self.plateau_epoch = self.epoch

    def end(self, config: TrainConfig) -> str | None:
        """Return why the trial is at its end, epochs or patience, or None if it is not."""
        if self.epoch >= config.epochs:
            return "epochs"
        stale = self.epoch - self.rising_epoch
        return "patience" if config.patience is not None and stale >= config.patience else None


def _rank(scores: Scores, criterion: Criterion, task: TaskName) -> tuple[float, float]:
    """Return what the best epoch is best at, and what decides between equals. More is better."""
    name = choosing_metric(criterion)
    usual = CHOOSING[task][0]
    other = "loss" if name == usual else usual
    sign, other_sign = (1 if more_is_better(one) else -1 for one in (name, other))
    return sign * scores[name], other_sign * scores[other]
