"""The loop: what its records say, when it ends, and what it leaves behind."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch.nn import functional

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.stop_poll import StopPoll
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.load import load
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop import epoch as epoch_module
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import Batch, micro_batches
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.tasks.classification.task import Classification

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]
ValidateAs = Callable[..., None]


def test_a_trial_learns_and_leaves_only_its_results(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(epochs=4, lr=0.003)
    records = train_until(run, test=True)
    assert [record["epoch"] for record in records] == [0, 1, 2, 3, 4]
    assert records[0]["validation_accuracy"] < 0.75 < 0.9 < records[4]["validation_accuracy"]
    assert records[0]["step"] == 0
    assert records[4]["step"] == 4 * math.ceil(len(load(run.config(), None).train) / 64)
    result = run.result()
    assert result is not None
    best = max(records[1:], key=lambda r: (r["validation_accuracy"], -r["validation_loss"]))
    assert result["best_epoch"] == best["epoch"] == records[-1]["best_epoch"]
    assert result["validation_accuracy"] == best["validation_accuracy"]
    assert (result["outcome"], result["reason"], result["epochs"]) == ("finished", "epochs", 4)
    assert result["test_accuracy"] > 0.9
    epochs = sum(record["seconds"] for record in records) / 60
    assert result["epoch_minutes"] == pytest.approx(epochs)
    assert result["minutes"] == pytest.approx(60 * result["device_hours"])
    assert result["minutes"] > records[-1]["held_seconds"] / 60 > epochs
    assert result["classes"] == 3
    assert 64 * 16 + 16 + 16 * 3 + 3 == result["parameters"] == result["trainable_parameters"]
    assert not run.checkpoints()
    assert [record["epoch"] for record in run.records()] == [0, 1, 2, 3, 4]


def test_the_weights_are_the_best_epochs_and_carry_the_normalisation(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(epochs=3, lr=0.003)
    train_until(run)
    data, network = open_trial(run.config(), run)
    network.load_state_dict(safetensors.torch.load_file(run.weights_path))
    network.eval()
    logits = network(torch.from_numpy(data.images[data.validation]))
    labels = torch.from_numpy(data.labels[data.validation])
    result = run.result()
    assert result is not None
    assert functional.cross_entropy(logits, labels).item() == pytest.approx(
        result["validation_loss"], rel=1e-5
    )
    assert (logits.argmax(1) == labels).double().mean().item() == result["validation_accuracy"]


def test_the_same_seed_gives_the_same_numbers_and_another_others(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields: dict[str, Any] = {
        "epochs": 2,
        "dropout": 0.3,
        "augmentation": ["crop", "rotation"],
        "classes": "2",
    }
    first, again, other = (
        new_run(name, **fields, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    train_until(first)
    torch.manual_seed(99)  # whatever ran before
    torch.rand(7)
    train_until(again)
    train_until(other)
    assert numbers(first) == numbers(again)
    assert first.weights_path.read_bytes() == again.weights_path.read_bytes()
    assert numbers(other)[2]["validation_loss"] != numbers(first)[2]["validation_loss"]


@pytest.mark.usefixtures("each_epoch_saved")
def test_whoever_drives_it_may_close_it_at_any_record(new_run: NewRun) -> None:
    run = new_run()
    with contextlib.closing(Fit(Attempt.at(run)).records()) as records:
        assert next(records)["epoch"] == 0
        assert next(records)["epoch"] == 1
    assert run.result() is None
    assert len(run.checkpoints()) == 2


def test_it_leaves_an_epoch_when_asked_to_stop_and_goes_on_to_the_same_numbers(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    whole, left = new_run("whole", dropout=0.3), new_run("left", dropout=0.3)
    train_until(whole)
    steps = math.ceil(len(load(left.config(), None).train) / 64)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return (
            len(asked) == steps + 2
        )  # in the third step of the second epoch: after an epoch's last it is not asked

    assert [record["epoch"] for record in Fit(replace(Attempt.at(left), stop=stop)).records()] == [
        0,
        1,
    ]
    assert len(asked) == steps + 2
    train_until(left, attempt=2)
    assert [n for n in numbers(left) if n["epoch"] > 1] == [
        n for n in numbers(whole) if n["epoch"] > 1
    ]
    assert left.weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_a_stop_file_ends_a_trial_in_the_middle_of_an_epoch(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(epochs=5, lr=0.003)
    monkeypatch.setattr(StopPoll, "PAUSE", 0.0)
    learned: list[None] = []

    def cut_and_stop(batch: Batch, size: int) -> list[Batch]:
        learned.append(None)
        if len(learned) == 2 * steps + 2:
            run.request_stop()
        return micro_batches(batch, size)

    steps = math.ceil(len(load(run.config(), None).train) / 64)
    monkeypatch.setattr(epoch_module, "micro_batches", cut_and_stop)
    assert [record["epoch"] for record in train(Attempt.at(run))] == [0, 1, 2]
    assert len(learned) == 2 * steps + 2
    result = run.result() or {}
    assert (result["outcome"], result["reason"], result["epochs"]) == ("stopped", "stop file", 2)
    assert run.weights_path.exists()


def test_patience_ends_a_trial_and_is_remembered_by_its_checkpoint(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers, validate_as: ValidateAs
) -> None:
    # Epoch 0 does not count; epoch 3 is the last that is more accurate than all before.
    validate_as(*((1.0, accuracy) for accuracy in (0.9, 0.5, 0.6, 0.7, 0.7, 0.6)))
    fields = {"epochs": 50, "patience": 2}
    whole, halted = new_run("whole", **fields), new_run("halted", **fields)
    train_until(whole)
    result = whole.result() or {}
    assert (result["outcome"], result["reason"], result["epochs"]) == ("finished", "patience", 5)
    assert result["best_epoch"] == 3
    train_until(halted, last_epoch=4)
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)


def test_the_best_epoch_is_the_most_accurate_then_the_one_of_lower_loss() -> None:
    progress = TrialProgress()
    bests = []
    for accuracy, loss in [(0.9, 0.1), (0.5, 1.0), (0.6, 0.9), (0.6, 0.8), (0.6, 0.8), (0.5, 0.1)]:
        progress.add(
            {"loss": loss, "accuracy": accuracy}, 1.0, TrainConfig(select="validation_accuracy")
        )
        bests.append(progress.best_epoch)
    assert bests == [0, 1, 2, 3, 3, 3]  # epoch 0 was better, but is no result of training
    assert progress.rising_epoch == 2
    assert progress.end(TrainConfig(epochs=10, patience=4)) is None
    assert progress.end(TrainConfig(epochs=10, patience=3)) == "patience"
    assert progress.end(TrainConfig(epochs=5)) == "epochs"


def test_the_best_epoch_can_be_that_of_the_lowest_loss() -> None:
    progress = TrialProgress()
    bests = []
    for accuracy, loss in [(0.9, 0.1), (0.5, 1.0), (0.4, 0.9), (0.6, 0.9), (0.8, 0.95), (0.5, 0.9)]:
        progress.add(
            {"loss": loss, "accuracy": accuracy}, 1.0, TrainConfig(select="validation_loss")
        )
        bests.append(progress.best_epoch)
    assert bests == [0, 1, 2, 3, 3, 3]
    assert progress.best == {"loss": 0.9, "accuracy": 0.6}
    assert progress.rising_epoch == 2
    assert progress.end(TrainConfig(epochs=10, patience=4)) is None
    assert progress.end(TrainConfig(epochs=10, patience=3)) == "patience"


def test_the_kept_weights_and_patience_follow_what_selects(
    new_run: NewRun, train_until: TrainUntil, validate_as: ValidateAs
) -> None:
    # The lowest loss is epoch 2's; epoch 3 is the most accurate.
    losses, accuracies = (2.0, 0.9, 0.5, 0.6, 0.7, 0.8), (0.3, 0.4, 0.6, 0.9, 0.8, 0.7)
    validate_as(*zip(losses, accuracies, strict=True))
    run, other = (
        new_run(name, epochs=40, select="validation_loss", patience=3) for name in ("run", "other")
    )
    train_until(run)
    result = run.result() or {}
    assert (result["reason"], result["epochs"]) == ("patience", 5)
    assert (result["best_epoch"], result["validation_loss"]) == (2, 0.5)
    train_until(other, last_epoch=2)
    kept = safetensors.torch.load_file(run.weights_path)
    expected = checkpoint.read(other.checkpoint_path(2))["model"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())


def test_a_plateau_is_patience_without_a_better_epoch_since_the_last_plateau() -> None:
    progress = TrialProgress()
    plateaus = []
    for accuracy in [0.1, 0.5, 0.6, 0.6, 0.5, 0.5, 0.5, 0.7, 0.6]:
        progress.add({"loss": 1.0, "accuracy": accuracy}, 1.0, TrainConfig(plateau_patience=2))
        plateaus.append(progress.plateaus)
    assert plateaus == [0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_the_learning_rate_falls_on_plateaus_and_a_checkpoint_remembers_them(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers, validate_as: ValidateAs
) -> None:
    # Plateaus after epochs 3 and 6.
    validate_as(*((1.0, accuracy) for accuracy in (0.1, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.7)))
    fields = {"epochs": 7, "schedule": "plateau", "plateau_patience": 2, "gamma": 0.5, "lr": 0.01}
    whole, halted = new_run("whole", **fields), new_run("halted", **fields)
    rates = [record["lr"] for record in train_until(whole)]
    assert rates == pytest.approx([0.01] * 4 + [0.005] * 3 + [0.0025])
    train_until(halted, last_epoch=3)
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)


def test_a_stop_file_ends_a_trial_after_the_epoch(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(epochs=9)
    run.request_stop()
    assert len(train_until(run)) == 1
    result = run.result()
    assert result is not None
    assert (result["outcome"], result["reason"], result["epochs"]) == ("stopped", "stop file", 0)
    assert run.weights_path.exists()


def test_frozen_layers_end_as_they_began(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(model="cnn", filters=[4], freeze="first:3", epochs=1)
    _, network = open_trial(run.config(), run)
    train_until(run)
    after = safetensors.torch.load_file(run.weights_path)
    moved = {
        name
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, after[name])
    }
    assert moved
    assert not any(
        name.startswith(("model.block1", "model.block2", "model.block3")) for name in moved
    )
    assert "model.block4.batch_norm.running_mean" in moved


def test_bf16_trains_and_keeps_fp32_weights(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(precision="bf16", epochs=2, lr=0.003)
    records = train_until(run)
    assert records[-1]["validation_loss"] < records[0]["validation_loss"]
    assert {
        t.dtype
        for t in safetensors.torch.load_file(run.weights_path).values()
        if t.is_floating_point()
    } == {torch.float32}


def test_missing_data_is_a_clear_error(
    new_run: NewRun, train_until: TrainUntil, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=str(tmp_path / "nowhere")):
        train_until(new_run(dataset=f"folder:{tmp_path / 'nowhere'}"))


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_loss_that_is_not_finite_is_named_by_its_split(
    split: str, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch 0 evaluates a sample of the training images, then the validation images."""
    answers = [{"loss": loss, "accuracy": 0.5} for loss in (math.nan, 0.7)]
    scores = iter(answers if split == "training" else reversed(answers))
    monkeypatch.setattr(Classification, "evaluate", lambda *_: next(scores))
    with pytest.raises(Diverged, match=rf"the {split} loss is nan after step 0 \(epoch 0\)"):
        next(Fit(Attempt.at(new_run())).records())
