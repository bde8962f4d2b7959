"""The loop: what its records say, when it ends, and what it leaves behind."""

import contextlib
import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.inbox import StopLook
from fieldtrial.run import Record, Run
from fieldtrial.training import environment, strategy
from fieldtrial.training import epoch as epoch_module
from fieldtrial.training.data import load
from fieldtrial.training.epoch import Diverged, Scores, batches, evaluate, pieces, require_normalisable, shuffled
from fieldtrial.training.fit import Progress, fit, open_trial
from fieldtrial.training.prepare import look_at
from fieldtrial.training.trial import command, train
from fieldtrial.training.world import World

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]


def test_a_trial_learns_and_leaves_only_its_results(new_run: NewRun, train_until: TrainUntil) -> None:
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
    assert result["minutes"] == pytest.approx(sum(record["seconds"] for record in records) / 60)
    assert result["classes"] == 3
    assert 64 * 16 + 16 + 16 * 3 + 3 == result["parameters"] == result["trainable_parameters"]
    assert not run.checkpoints()
    assert [record["epoch"] for record in run.records()] == [0, 1, 2, 3, 4]


def test_the_weights_are_the_best_epochs_and_carry_the_normalisation(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(epochs=3, lr=0.003)
    train_until(run)
    data, network = open_trial(run.config(), run)
    network.load_state_dict(safetensors.torch.load_file(run.weights_path))
    network.eval()
    logits = network(torch.from_numpy(data.images[data.validation]))
    labels = torch.from_numpy(data.labels[data.validation])
    result = run.result()
    assert result is not None
    assert functional.cross_entropy(logits, labels).item() == pytest.approx(result["validation_loss"], rel=1e-5)
    assert (logits.argmax(1) == labels).double().mean().item() == result["validation_accuracy"]


def test_the_same_seed_gives_the_same_numbers_and_another_others(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields: dict[str, Any] = {"epochs": 2, "dropout": 0.3, "augmentation": ["crop", "rotation"], "classes": "2"}
    first, again, other = (new_run(name, **fields, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    train_until(first)
    torch.manual_seed(99)  # whatever ran before
    torch.rand(7)
    train_until(again)
    train_until(other)
    assert numbers(first) == numbers(again)
    assert first.weights_path.read_bytes() == again.weights_path.read_bytes()
    assert numbers(other)[2]["validation_loss"] != numbers(first)[2]["validation_loss"]


def test_whoever_drives_it_may_close_it_at_any_record(new_run: NewRun) -> None:
    run = new_run()
    with contextlib.closing(fit(run.config(), run, World())) as records:
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
        return len(asked) == steps + 2  # in the third step of the second epoch: after an epoch's last it is not asked

    assert [record["epoch"] for record in fit(left.config(), left, World(), stop=stop)] == [0, 1]
    assert len(asked) == steps + 2
    train_until(left, attempt=2)
    assert [n for n in numbers(left) if n["epoch"] > 1] == [n for n in numbers(whole) if n["epoch"] > 1]
    assert left.weights_path.read_bytes() == whole.weights_path.read_bytes()


def test_a_stop_file_ends_a_trial_in_the_middle_of_an_epoch(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(epochs=5, lr=0.003)
    monkeypatch.setattr(StopLook, "SHORTEST", 0.0)
    monkeypatch.setattr(StopLook, "SHARE", 0.0)
    learn = epoch_module._learn
    learned: list[None] = []

    def learn_and_stop(*rest: Any) -> torch.Tensor:
        learned.append(None)
        if len(learned) == 2 * steps + 2:
            run.request_stop()
        return learn(*rest)

    steps = math.ceil(len(load(run.config(), None).train) / 64)
    monkeypatch.setattr(epoch_module, "_learn", learn_and_stop)
    assert [record["epoch"] for record in train(run, World(), attempt=1)] == [0, 1, 2]
    assert len(learned) == 2 * steps + 2
    result = run.result() or {}
    assert (result["outcome"], result["reason"], result["epochs"]) == ("stopped", "stop file", 2)
    assert run.weights_path.exists()


def test_patience_ends_a_trial_and_is_remembered_by_its_checkpoint(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields = {"epochs": 50, "patience": 2, "lr": 0.01}
    whole, halted = new_run("whole", **fields), new_run("halted", **fields)
    records = train_until(whole)
    accuracies = [record["validation_accuracy"] for record in records]
    rises = [e for e in range(1, len(records)) if e == 1 or accuracies[e] > max(accuracies[1:e])]
    assert len(records) - 1 == rises[-1] + 2 < 50
    result = whole.result()
    assert result is not None
    assert (result["outcome"], result["reason"], result["epochs"]) == ("finished", "patience", rises[-1] + 2)
    train_until(halted, last_epoch=rises[-1] + 1)
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)


def test_the_best_epoch_is_the_most_accurate_then_the_one_of_lower_loss() -> None:
    progress = Progress()
    bests = []
    for accuracy, loss in [(0.9, 0.1), (0.5, 1.0), (0.6, 0.9), (0.6, 0.8), (0.6, 0.8), (0.5, 0.1)]:
        progress.add(Scores(loss, accuracy), 1.0, "validation_accuracy")
        bests.append(progress.best_epoch)
    assert bests == [0, 1, 2, 3, 3, 3]  # epoch 0 was better, but is no result of training
    assert progress.rising_epoch == 2
    assert progress.end(TrainConfig(epochs=10, patience=4)) is None
    assert progress.end(TrainConfig(epochs=10, patience=3)) == "patience"
    assert progress.end(TrainConfig(epochs=5)) == "epochs"


def test_the_best_epoch_can_be_that_of_the_lowest_loss() -> None:
    progress = Progress()
    bests = []
    for accuracy, loss in [(0.9, 0.1), (0.5, 1.0), (0.4, 0.9), (0.6, 0.9), (0.8, 0.95), (0.5, 0.9)]:
        progress.add(Scores(loss, accuracy), 1.0, "validation_loss")
        bests.append(progress.best_epoch)
    assert bests == [0, 1, 2, 3, 3, 3]
    assert (progress.best_loss, progress.best_accuracy) == (0.9, 0.6)
    assert progress.rising_epoch == 2
    assert progress.end(TrainConfig(epochs=10, patience=4)) is None
    assert progress.end(TrainConfig(epochs=10, patience=3)) == "patience"


def test_the_kept_weights_and_patience_follow_what_selects(new_run: NewRun, train_until: TrainUntil) -> None:
    fields = {"classes": "all", "epochs": 40, "lr": 0.02, "batch_size": 16, "dense_width": [64]}
    run = new_run(**fields, validation_fraction=0.3, select="validation_loss", patience=3)
    records = train_until(run)
    result = run.result()
    assert result is not None
    best = min(records[1:], key=lambda r: r["validation_loss"])
    assert (result["best_epoch"], result["validation_loss"]) == (best["epoch"], best["validation_loss"])
    assert (result["reason"], result["epochs"]) == ("patience", best["epoch"] + 3)
    most = max(record["validation_accuracy"] for record in records)
    assert most > result["validation_accuracy"], "this test needs an epoch of higher loss and accuracy"


def test_a_plateau_is_patience_without_a_better_epoch_since_the_last_plateau() -> None:
    progress = Progress()
    plateaus = []
    for accuracy in [0.1, 0.5, 0.6, 0.6, 0.5, 0.5, 0.5, 0.7, 0.6]:
        progress.add(Scores(1.0, accuracy), 1.0, "validation_accuracy")
        progress.find_plateau(2)
        plateaus.append(progress.plateaus)
    assert plateaus == [0, 0, 0, 0, 1, 1, 2, 2, 2]


def test_the_learning_rate_falls_on_plateaus_and_a_checkpoint_remembers_them(
    new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields = {"epochs": 12, "schedule": "plateau", "plateau_patience": 2, "gamma": 0.5, "lr": 0.01}
    whole, halted = new_run("whole", **fields), new_run("halted", **fields)
    rates = [record["lr"] for record in train_until(whole)]
    falls = [epoch for epoch in range(1, 13) if rates[epoch] < rates[epoch - 1]]
    assert len(falls) >= 2
    assert rates[-1] == pytest.approx(0.01 * 0.5 ** len(falls))
    train_until(halted, last_epoch=falls[0])
    train_until(halted, attempt=2)
    assert numbers(halted) == numbers(whole)


def test_records_say_how_far_the_weights_moved(new_run: NewRun, train_until: TrainUntil) -> None:
    fields: dict[str, Any] = {"optimizer": "sgd", "momentum": 0, "lr": 0.5, "epochs": 1, "batch_size": 10**6}
    run = new_run(**fields, gradient_clip=0.01)
    records = train_until(run, last_epoch=1)
    assert "gradient_norm" not in records[0]
    data, network = open_trial(run.config(), run)
    logits = network(torch.from_numpy(data.images[data.train]))
    functional.cross_entropy(logits, torch.from_numpy(data.labels[data.train])).backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])
    weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert records[1]["gradient_norm"] == pytest.approx(gradient.norm().item(), rel=1e-4)  # before clipping
    assert records[1]["update_ratio"] == pytest.approx(0.5 * 0.01 / weights.norm().item(), rel=1e-3)


def test_a_gradient_that_is_not_finite_ends_a_trial(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "total_norm", lambda _: torch.tensor(math.inf))
    with pytest.raises(Diverged, match="a gradient's norm is inf in epoch 1"):
        train_until(new_run())


def test_unshuffled_images_come_as_they_are_stored(new_run: NewRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    ordered = epoch_module.batches

    def watch(data: Any, order: Any, *rest: Any) -> Any:
        seen.append(order)
        return ordered(data, order, *rest)

    monkeypatch.setattr(epoch_module, "batches", watch)
    for shuffle in (True, False):
        run = new_run(str(shuffle), shuffle=shuffle, epochs=2)
        list(fit(run.config(), run, World()))
    train = load(run.config(), None).train
    epochs = [order for order in seen if len(order) == len(train)]
    assert [np.array_equal(order, train) for order in epochs] == [False, False, True, True]
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_stop_file_ends_a_trial_after_the_epoch(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(epochs=9)
    run.request_stop()
    assert len(train_until(run)) == 1
    result = run.result()
    assert result is not None
    assert (result["outcome"], result["reason"], result["epochs"]) == ("stopped", "stop file", 0)
    assert run.weights_path.exists()


def test_a_loss_that_is_not_finite_names_its_step(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(optimizer="sgd", momentum=0, batch_size=4)  # 97 steps an epoch
    rates = {97 + 70: 1e25}  # the 168th step spoils the weights
    monkeypatch.setattr(epoch_module, "learning_rate", lambda _config, step, *_: rates.get(step, 0.001))
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) at step 169 \(epoch 2\)"):
        train_until(run)
    assert [record["epoch"] for record in run.records()] == [0, 1]
    error = run.error()
    assert error is not None
    assert (error["kind"], error["attempt"]) == ("diverged", 1)
    assert "at step 169 (epoch 2)" in error["message"]
    assert "Traceback" in error["details"]
    assert not list(run.path.glob("checkpoint*")), "another attempt would diverge again"


def test_a_validation_loss_that_is_not_finite_is_found_as_well(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(optimizer="sgd", momentum=0, lr=1e25, batch_size=1000)  # the only step of the epoch still has a loss
    with pytest.raises(Diverged, match=r"the validation loss is (nan|inf) after step 1 \(epoch 1\)"):
        train_until(run)


def test_losses_are_looked_at_now_and_then_only(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(epoch_module, "_check", lambda losses, first, _epoch: looks.append((first, len(losses))))
    train_until(new_run(batch_size=3, epochs=1))
    steps = sum(length for _, length in looks)
    assert looks[:2] == [(0, 50), (50, 50)]
    assert steps == 129
    assert len(looks) == 3


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [50, 64, 4])
def test_processes_share_each_global_batch_exactly(size: int, batch_size: int) -> None:
    data = load(TrainConfig(), None)
    order = shuffled(data.train[:129], TrainConfig(), epoch=1)
    parts = [list(batches(data, order, batch_size, World(rank, size))) for rank in range(size)]
    for number, start in enumerate(range(0, 129, batch_size)):
        wanted = order[start : start + batch_size]
        batch = [part[number] for part in parts]
        assert {len(part.labels) for part in batch} == {
            max(math.ceil(len(wanted) / size), min(2, math.ceil(batch_size / size)))
        }
        assert {part.count for part in batch} == {len(wanted)}
        assert sum(part.weights.sum().item() for part in batch) == len(wanted)
        real = np.concatenate([part.images[part.weights > 0].numpy() for part in batch])
        expected = np.concatenate([data.images[wanted[rank::size]] for rank in range(size)])
        np.testing.assert_array_equal(real, expected)


def test_evaluation_does_not_depend_on_how_it_is_cut_and_changes_nothing(new_run: NewRun) -> None:
    run = new_run(model="cnn", dropout=0.5, filters=[4], label_smoothing=0.3)
    data, network = open_trial(run.config(), run)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    whole = evaluate(network, data, data.train, 64, World())
    pixels, epoch_module.EVALUATION_PIXELS = epoch_module.EVALUATION_PIXELS, 1
    small = evaluate(network, data, data.train, 7, World())
    epoch_module.EVALUATION_PIXELS = pixels
    assert small.loss == pytest.approx(whole.loss, rel=1e-6)
    assert small.accuracy == whole.accuracy
    sizes: list[int] = []
    watch = network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    cut = evaluate(network, data, data.train, 64, World(), accumulate=100)
    watch.remove()
    assert max(sizes) == 3, "a hundredth of the 256 that are evaluated at once"
    assert cut.loss == pytest.approx(whole.loss, rel=1e-6)
    logits = network.eval()(torch.from_numpy(data.images[data.train]))
    assert whole.loss == pytest.approx(
        functional.cross_entropy(logits, torch.from_numpy(data.labels[data.train])).item(), rel=1e-5
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("width", "size", "sizes"), [
    (64, 64, [64]), (64, 32, [32, 32]), (51, 13, [13, 13, 13, 12]), (3, 13, [3]), (4, 1, [1] * 4),
    (3, 2, [3]), (5, 2, [3, 2]), (2, 2, [2]), (1, 2, [1]),
])  # fmt: skip
def test_a_batch_in_pieces_is_all_there_and_no_image_is_alone(width: int, size: int, sizes: list[int]) -> None:
    data = load(TrainConfig(), None)
    (whole,) = batches(data, data.train[:width], width, World())
    cut = pieces(whole, size)
    assert [len(piece.images) for piece in cut] == sizes
    assert {piece.count for piece in cut} == {width}
    for name in ("images", "labels", "weights"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in cut]), getattr(whole, name))


def test_batch_norm_survives_a_batch_in_many_pieces(new_run: NewRun) -> None:
    run = new_run(model="cnn", filters=[4], epochs=1, batch_size=9)
    with contextlib.closing(train(run, World(), 1, accumulate=4)) as records:
        assert [record["epoch"] for record in records] == [0, 1]
    with pytest.raises(ConfigError, match="batch_size = 9, cut into 9 because more images did not fit into memory: "):
        next(train(new_run("smallest", model="cnn", filters=[4], batch_size=9), World(), 1, accumulate=9))


def test_batch_norm_survives_a_last_batch_of_one_image(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(model="cnn", filters=[4], epochs=1, batch_size=193)
    assert len(load(run.config(), None).train) % 193 == 1
    train_until(run)
    assert run.result() is not None


def test_single_images_that_cannot_be_normalised_are_refused_before_training(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    refused = new_run("refused", model="cnn", filters=[4], batch_size=1)
    with pytest.raises(
        ConfigError, match=r"batch_size = 1: .* cnn cannot normalise over one of 8 pixels \(Expected more"
    ):
        train_until(refused)
    assert refused.records() == []
    problems = look_at(refused.config(), shapes_only=False)["problems"]
    assert len(problems) == 1
    assert problems[0].startswith("batch_size = 1: ")
    assert look_at(refused.config(), shapes_only=True)["problems"] == problems
    data, network = open_trial(refused.config(), refused)
    for size, batch_size, says in [(1, 2, None), (2, 2, "batch_size = 2"), (2, 3, None)]:  # of `size` processes
        config = replace(refused.config(), batch_size=batch_size)
        with pytest.raises(ConfigError, match=says) if says else contextlib.nullcontext():
            require_normalisable(network, data, config, World(size=size))


@pytest.mark.parametrize(
    "fields", [{"freeze": "all_but_head"}, {"batch_norm": False}, {"image_size": 32, "classes": "2"}]
)
def test_single_images_are_trained_on_where_they_can_be(
    fields: dict[str, Any], new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(**{"model": "cnn", "filters": [2], "batch_size": 1, "epochs": 1, **fields})
    train_until(run)
    assert run.result() is not None


def test_tensorboard_shows_each_epoch_once_and_the_hyperparameters(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(epochs=3, betas=[0.8, 0.99])
    train_until(run, last_epoch=2)
    train_until(run, attempt=2, test=True)
    events = EventAccumulator(str(run.tensorboard_folder))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("validation_accuracy")]
    assert [step for step, _ in shown] == [0, 1, 2, 3]
    assert [value for _, value in shown] == pytest.approx([r["validation_accuracy"] for r in run.records()])
    assert events.Scalars("result/test_accuracy")[0].value > 0.5
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"betas" in content
    assert b"0.8,0.99" in content
    assert b"patience" in content


def test_a_run_says_where_it_ran_and_how_to_repeat_it(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run("a run", epochs=1)
    train_until(run, attempt=7)
    facts = run.environment()["7"]
    assert facts["world_size"] == 1
    assert (
        facts["versions"]["torch"] == torch.__version__.split("+")[0] or facts["versions"]["torch"] == torch.__version__
    )
    assert len(facts["commit"] or "0" * 40) == 40
    assert json.loads(json.dumps(facts)) == facts
    command = (run.path / "command.txt").read_text()
    assert command.startswith(f"FIELDTRIAL_DATA={os.environ['FIELDTRIAL_DATA']} python jobs/train.py --run '")
    assert command.endswith("--classes 3 --model mlp --dense_width 16 --epochs 1\n")


def test_the_command_has_all_that_is_needed_to_repeat_the_trial(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run("run", batch_size=8)
    flags = "--classes 3 --model mlp --dense_width 16 --batch_size 8 --epochs 3"
    monkeypatch.setenv("FIELDTRIAL_DATA", "/data sets")
    assert command(run.config(), run, World(size=2), test=True) == (
        f"FIELDTRIAL_DATA='/data sets' torchrun --nproc-per-node 2 -- jobs/train.py --run {run.path} --test {flags}"
    )
    monkeypatch.delenv("FIELDTRIAL_DATA")
    assert command(run.config(), run, World(), test=False) == f"python jobs/train.py --run {run.path} {flags}"


def test_what_the_code_differs_in_from_its_commit_is_kept_up_to_a_size(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = tmp_path / "code" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x is 1"]):
        subprocess.run(["git", *arguments], cwd=module.parent, check=True)
    monkeypatch.setattr(environment, "__file__", str(module))
    caches = (environment._code, environment.uncommitted_changes)
    try:
        run = new_run(epochs=1)
        for attempt, content, dirty in ((1, "x = 1\n", False), (2, "x = 2\n", True), (3, "é = 3\n" * 20_000, True)):
            module.write_text(content)
            for cache in caches:
                cache.cache_clear()
            train_until(run, attempt, last_epoch=0)
            assert run.environment()[str(attempt)]["dirty"] is dirty
            assert (run.path / f"changes-{attempt}.diff").exists() is dirty
        subprocess.run(["git", "checkout", "-q", "."], cwd=module.parent, check=True)
        subprocess.run(["git", "apply", str(run.path / "changes-2.diff")], cwd=module.parent, check=True)
        assert module.read_text() == "x = 2\n"
        long = (run.path / "changes-3.diff").read_bytes()
        assert 100_000 <= len(long) < 100_100
        assert long.decode().splitlines()[-1].startswith("[cut off here: the diff has 16")
    finally:
        for cache in caches:
            cache.cache_clear()


def test_frozen_layers_end_as_they_began(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(model="cnn", filters=[4], freeze="first:3", epochs=1)
    _, network = open_trial(run.config(), run)
    train_until(run)
    after = safetensors.torch.load_file(run.weights_path)
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, after[name])}
    assert moved
    assert not any(name.startswith(("model.block1", "model.block2", "model.block3")) for name in moved)
    assert "model.block4.batch_norm.running_mean" in moved


def test_bf16_trains_and_keeps_fp32_weights(new_run: NewRun, train_until: TrainUntil) -> None:
    run = new_run(precision="bf16", epochs=2, lr=0.003)
    records = train_until(run)
    assert records[-1]["validation_loss"] < records[0]["validation_loss"]
    assert {t.dtype for t in safetensors.torch.load_file(run.weights_path).values() if t.is_floating_point()} == {
        torch.float32
    }


def test_missing_data_is_a_clear_error(new_run: NewRun, train_until: TrainUntil, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path / "nowhere")):
        train_until(new_run(dataset=f"folder:{tmp_path / 'nowhere'}"))
