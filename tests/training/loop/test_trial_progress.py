"""Which epoch is kept, and what patience and plateaus watch."""

from fieldtrial.config import TrainConfig
from fieldtrial.training.loop.trial_progress import TrialProgress

LOSSES = [2.0, 1.0, 0.5, 0.8, 0.6, 0.7]  # from epoch 0 on


def after(config: TrainConfig) -> tuple[TrialProgress, str | None]:
    """Return the progress when the trial ends, and why it does."""
    progress = TrialProgress()
    for loss in LOSSES:
        progress.add({"loss": loss, "accuracy": 1 - loss / 2}, 1.0, config)
        if why := progress.end(config):
            return progress, why
    return progress, None


def test_last_keeps_the_last_epoch_and_best_the_best() -> None:
    last, _ = after(TrainConfig(select="last", epochs=5))
    assert (last.best_epoch, last.best["loss"]) == (5, 0.7)
    best, _ = after(TrainConfig(select="validation_loss", epochs=5))
    assert (best.best_epoch, best.best["loss"]) == (2, 0.5)


def test_patience_and_plateaus_of_last_watch_the_least_loss() -> None:
    ended, why = after(TrainConfig(select="last", epochs=9, patience=3))
    assert (ended.epoch, ended.best_epoch, why) == (5, 5, "patience")
    flat, _ = after(TrainConfig(select="last", epochs=5, plateau_patience=2))
    assert flat.plateaus == 1
