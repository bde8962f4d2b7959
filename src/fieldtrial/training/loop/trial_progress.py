"""How far a trial is, which epoch is its best, and when it ends."""

from collections.abc import Callable
from dataclasses import dataclass

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Criterion
from fieldtrial.training.loop.inference import Scores

# By loss and accuracy: what the best epoch is best at, then what decides between equals. More is
# better.
RANKS: dict[Criterion, Callable[[float, float], tuple[float, float]]] = {
    "validation_accuracy": lambda loss, accuracy: (accuracy, -loss),
    "validation_loss": lambda loss, accuracy: (-loss, accuracy),
}


@dataclass
class TrialProgress:
    """How far a trial is. Checkpoints hold these fields.

    Epoch 0, before any training, is the best one only until there is another. With `select` last,
    the best epoch is the last one, and `validation_loss` is what gets better.

    Attributes:
        epoch: the last one done.
        rising_epoch: the last one that was better at `select` than all before.
        least_loss: the least validation loss so far.
        plateaus: how often no epoch was better for plateau_patience epochs.
        plateau_epoch: when that was so last.
        seconds: of training and evaluation.
        alone_seconds: that the trial had taken by then alone, from nothing; None: not known.
    """

    epoch: int = -1
    best_epoch: int = 0
    best_loss: float = 0.0
    best_accuracy: float = 0.0
    rising_epoch: int = 0
    plateaus: int = 0
    plateau_epoch: int = 0
    least_loss: float = 0.0
    seconds: float = 0.0
    alone_seconds: float | None = None

    def add(self, validation: Scores, seconds: float, config: TrainConfig) -> None:
        """Note the end of another epoch.

        There is a plateau if none was better for plateau_patience epochs since the last plateau.
        """
        self.epoch += 1
        self.seconds += seconds
        keeps_last = config.select == "last"
        of = RANKS["validation_loss" if config.select == "last" else config.select]
        rank = of(validation.loss, validation.accuracy)
        best = of(self.best_loss, self.best_accuracy)
        watched = (-self.least_loss,) if keeps_last else best
        if self.epoch <= 1 or rank[0] > watched[0]:
            self.rising_epoch = self.epoch
        if self.epoch <= 1 or validation.loss < self.least_loss:
            self.least_loss = validation.loss
        if self.epoch <= 1 or keeps_last or rank > best:
            self.best_epoch = self.epoch
            self.best_loss, self.best_accuracy = validation.loss, validation.accuracy
        if self.epoch - max(self.rising_epoch, self.plateau_epoch) >= config.plateau_patience:
            self.plateaus += 1
            self.plateau_epoch = self.epoch

    def end(self, config: TrainConfig) -> str | None:
        """Return why the trial is at its end, epochs or patience, or None if it is not."""
        if self.epoch >= config.epochs:
            return "epochs"
        stale = self.epoch - self.rising_epoch
        return "patience" if config.patience is not None and stale >= config.patience else None
