"""Checkpoints are written beside the training, and not after each short epoch."""

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.saving import Saver, copied

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]


def state_after(epoch: int, best_epoch: int) -> dict[str, Any]:
    progress = {"epoch": epoch, "best_epoch": best_epoch}
    plain: dict[str, Any] = {"config": {}, "optimizer": {}, "record": {}, "facts": {}}
    return plain | {"model": {"weight": torch.full((3,), float(epoch))}, "progress": progress}


def epochs_in(run: Run) -> list[int]:
    return [int(path.stem[-5:]) for path in run.checkpoints()]


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose last number is what the clock shows to savers."""
    shown = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: shown[-1])
    return shown


def test_short_epochs_are_saved_some_seconds_apart_and_the_best_with_them(
    new_run: NewRun, seconds: list[float]
) -> None:
    run = new_run()
    saver = Saver(run, 1)
    found = {}
    for epoch, (now, best) in enumerate([(0, 0), (2, 1), (4, 1), (6, 1), (8, 4), (10, 4), (12, 4)]):
        seconds.append(float(now))
        saver.add(state_after(epoch, best), is_due := saver.is_due())
        saver.finish()
        found[epoch] = (is_due, epochs_in(run))
    assert [epoch for epoch, (is_due, _) in found.items() if is_due] == [3, 6]
    assert found[2][1] == []
    assert found[3][1] == found[5][1] == [3, 1]
    assert found[6][1] == [6, 4]
    assert saver.best(4)["weight"].tolist() == [4.0] * 3
    saver.close()


def test_long_epochs_are_saved_each(new_run: NewRun, seconds: list[float]) -> None:
    run = new_run()
    saver = Saver(run, 1)
    for epoch in range(4):
        seconds.append(10.0 * (epoch + 1))
        assert saver.is_due()
        saver.add(state_after(epoch, 1))
        saver.finish()
    saver.close()
    assert epochs_in(run) == [3, 2, 1]


def test_training_goes_on_while_a_checkpoint_is_written(
    new_run: NewRun, seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, may_write = new_run(), threading.Event()
    save = checkpoint.save

    def save_slowly(*arguments: Any) -> None:
        assert may_write.wait(60)
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", save_slowly)
    saver = Saver(run, 1)
    state = state_after(0, 0)
    saver.add(state)
    state["model"]["weight"] += 7  # the next step
    seconds.append(100.0)
    assert not saver.is_due(), "the disk is slower than the epochs"
    assert epochs_in(run) == []
    may_write.set()
    saver.finish()
    assert saver.is_due()
    assert checkpoint.read(run.checkpoint_path(0))["model"]["weight"].tolist() == [0.0] * 3
    saver.close()


def test_what_could_not_be_written_fails_the_trial(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save", full)
    for interval in ("0", "1e-9"):
        monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", interval)
        run = new_run(f"run{interval}")
        with pytest.raises(OSError, match="No space left on device"):
            train_until(run)
        assert run.result() is None


def test_an_attempt_that_was_taken_over_from_writes_nothing(new_run: NewRun) -> None:
    run = new_run()
    with run.recorder(2):
        pass
    saver = Saver(run, 1)
    saver.add(state_after(3, 3))
    saver.finish()
    saver.close()
    assert epochs_in(run) == []


def test_tied_weights_are_copied_once() -> None:
    weight = torch.ones(4, 2)
    state = {"a": {"weight": weight, "same": weight.detach(), "part": weight[1:]}, "n": 3}
    copy = copied(state)
    weight += 1
    assert copy["n"] == 3
    assert copy["a"]["weight"] is copy["a"]["same"]
    assert copy["a"]["weight"].sum() == 8
    assert copy["a"]["part"].shape == (3, 2)


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_the_interval_is_a_number_of_seconds(
    text: str, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", text)
    with pytest.raises(ValueError, match=f"FIELDTRIAL_CHECKPOINT_SECONDS = '{text}': must be a"):
        Saver(new_run(), 1)


@pytest.mark.parametrize("fields", [{}, {"select": "validation_loss", "dropout": 0.3}])
def test_saved_or_not_a_trial_comes_to_the_same(
    fields: dict[str, Any],
    new_run: NewRun,
    train_until: TrainUntil,
    numbers: Numbers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [new_run(name, epochs=5, **fields) for name in ("never", "beside", "each")]
    for run, interval in zip(runs, ("3600", "1e-9", "0"), strict=True):
        monkeypatch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", interval)
        train_until(run, test=True)
    for run in runs[:2]:
        assert numbers(run) == numbers(runs[2])
        assert run.weights_path.read_bytes() == runs[2].weights_path.read_bytes()
        assert (run.result() or {})["test_loss"] == (runs[2].result() or {})["test_loss"]
        assert not run.checkpoints()


def test_closed_between_two_checkpoints_a_trial_loses_nothing(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, halted = new_run("whole", dropout=0.3), new_run("halted", dropout=0.3)
    train_until(whole)
    train_until(halted, last_epoch=2)
    assert [record["epoch"] for record in train_until(halted, attempt=2)] == [2, 3]
    assert numbers(halted) == numbers(whole)


def test_what_was_recorded_is_repeated_before_a_stop_counts(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision was taken by the records; that the checkpoint is older must not change it."""
    stopped, killed = (new_run(name, epochs=9) for name in ("stopped", "killed"))
    for record in train(Attempt.at(stopped)):
        if record["epoch"] == 4:
            stopped.request_stop()
    with monkeypatch.context() as patch:
        patch.setattr(Saver, "add", lambda *_: None)  # killed before anything was written
        train_until(killed, last_epoch=4)
    assert not killed.checkpoints()
    killed.request_stop()
    train_until(killed, attempt=2)
    assert numbers(killed) == numbers(stopped)
    results = [run.result() or {} for run in (killed, stopped)]
    for result in results:
        assert (result["outcome"], result["epochs"]) == ("stopped", 4)
    assert killed.weights_path.read_bytes() == stopped.weights_path.read_bytes()
