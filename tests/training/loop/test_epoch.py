"""An epoch: batches, micro-batches, what normalisation needs, and losses that are not finite."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.load import load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import epoch as epoch_module
from fieldtrial.training.loop import inference, strategy
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import batches, micro_batches, require_micro_batch, shuffled
from fieldtrial.training.loop.epoch import Diverged
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.loop.optimizers import total_norm
from fieldtrial.training.tasks.classification.task import Classification

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]


def test_records_say_how_far_the_weights_moved(new_run: NewRun, train_until: TrainUntil) -> None:
    fields: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0,
        "lr": 0.5,
        "epochs": 1,
        "batch_size": 10**6,
    }
    run = new_run(**fields, gradient_clip=0.01)
    records = train_until(run, last_epoch=1)
    assert "gradient_norm" not in records[0]
    data, network = open_trial(run.config(), run)
    logits = network(torch.from_numpy(data.images[data.train]))
    functional.cross_entropy(logits, torch.from_numpy(data.labels[data.train])).backward()  # type: ignore[no-untyped-call]
    gradient = torch.cat(
        [
            parameter.grad.flatten()
            for parameter in network.parameters()
            if parameter.grad is not None
        ]
    )
    weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert records[1]["gradient_norm"] == pytest.approx(
        gradient.norm().item(), rel=1e-4
    )  # before clipping
    assert records[1]["update_ratio"] == pytest.approx(0.5 * 0.01 / weights.norm().item(), rel=1e-3)


def test_a_gradient_that_is_not_finite_ends_a_trial(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "total_norm", lambda _: torch.tensor(math.inf))
    with pytest.raises(Diverged, match="a gradient's norm is inf in epoch 1"):
        train_until(new_run())


def test_the_gradients_norm_is_measured_where_it_is_used_and_in_a_few_steps(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[float] = []

    def count(tensors: list[torch.Tensor]) -> torch.Tensor:
        counted.append(total_norm(tensors).item())
        return total_norm(tensors)

    monkeypatch.setattr(strategy, "total_norm", count)
    fields: dict[str, Any] = {"batch_size": 3, "epochs": 1}  # 129 steps
    sampled = train_until(new_run("sampled", **fields))[1]["gradient_norm"]
    assert len(counted) == 3
    assert sampled == pytest.approx(np.mean(counted))
    counted.clear()
    clipped = train_until(new_run("clipped", **fields, gradient_clip=1e9))[1]["gradient_norm"]
    assert len(counted) == 129
    assert clipped == sampled
    assert clipped == pytest.approx(np.mean([counted[step] for step in (21, 64, 107)]))
    assert epoch_module.measured_steps(129) == {21, 64, 107}
    assert epoch_module.measured_steps(95) == {23, 71}
    assert [epoch_module.measured_steps(steps) for steps in (1, 2, 21)] == [{0}, {1}, {10}]


def test_training_accuracy_is_counted_in_every_image_however_many_are_kept(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    count_seen = Classification.count_seen

    def watch(task: Classification, outputs: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        counts.append(len(outputs))
        return count_seen(task, outputs, *rest)

    monkeypatch.setattr(Classification, "count_seen", watch)
    whole = train_until(new_run("whole", batch_size=4, epochs=1))
    assert [count for count in counts if count in (200, 187)] == [200, 187]
    monkeypatch.setattr(epoch_module, "MOST_HELD", 0)
    counts.clear()
    kept = train_until(new_run("kept", batch_size=4, epochs=1))
    assert counts.count(4) == 387 // 4
    for name in ("train_loss", "train_accuracy"):
        assert kept[1][name] == whole[1][name]


def test_unshuffled_images_come_as_they_are_stored(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watch(data: Any, order: Any, *rest: Any) -> Any:
        seen.append(order)
        return batches(data, order, *rest)

    monkeypatch.setattr(epoch_module, "batches", watch)
    for shuffle in (True, False):
        run = new_run(str(shuffle), shuffle=shuffle, epochs=2)
        list(Fit(Attempt.at(run)).records())
    train = load(run.config(), None).train
    epochs = [order for order in seen if len(order) == len(train)]
    assert [np.array_equal(order, train) for order in epochs] == [False, False, True, True]
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_loss_that_is_not_finite_names_its_step(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(optimizer="sgd", momentum=0, batch_size=4)  # 97 steps an epoch
    rates = {97 + 70: 1e25}  # the 168th step spoils the weights
    monkeypatch.setattr(
        epoch_module, "learning_rate", lambda _config, step, *_: rates.get(step, 0.001)
    )
    with pytest.raises(Diverged, match=r"the training loss is (nan|inf) at step 169 \(epoch 2\)"):
        train_until(run)
    assert [record["epoch"] for record in run.records()] == [0, 1]
    error = run.error()
    assert error is not None
    assert (error["kind"], error["attempt"]) == ("diverged", 1)
    assert "at step 169 (epoch 2)" in error["message"]
    assert "Traceback" in error["details"]
    assert not list(run.path.glob("checkpoint*")), "another attempt would diverge again"


def test_a_validation_loss_that_is_not_finite_is_found_as_well(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(
        optimizer="sgd", momentum=0, lr=1e25, batch_size=1000
    )  # the only step of the epoch still has a loss
    with pytest.raises(
        Diverged, match=r"the validation loss is (nan|inf) after step 1 \(epoch 1\)"
    ):
        train_until(run)


def test_losses_are_looked_at_now_and_then_only(
    new_run: NewRun, train_until: TrainUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.setattr(
        epoch_module.StepMeter, "require_finite", lambda _meter, end, *_: looks.append(end)
    )
    train_until(new_run(batch_size=3, epochs=1))
    assert looks == [50, 100, 129]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [50, 64, 4])
def test_processes_share_each_global_batch_exactly(size: int, batch_size: int) -> None:
    data = load(TrainConfig(), None)
    order = shuffled(data.train[:129], TrainConfig(), epoch=1)
    parts = [list(batches(data, order, batch_size, World(rank, size))) for rank in range(size)]
    for number, start in enumerate(range(0, 129, batch_size)):
        wanted = order[start : start + batch_size]
        batch = [part[number] for part in parts]
        assert {len(part.targets) for part in batch} == {
            max(math.ceil(len(wanted) / size), min(2, math.ceil(batch_size / size)))
        }
        assert {part.count for part in batch} == {len(wanted)}
        assert sum(part.weights.sum().item() for part in batch) == len(wanted)
        real = np.concatenate([part.images[part.weights > 0].numpy() for part in batch])
        expected = np.concatenate([data.images[wanted[rank::size]] for rank in range(size)])
        np.testing.assert_array_equal(real, expected)


def test_evaluation_does_not_depend_on_its_batches_and_changes_nothing(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(model="cnn", dropout=0.5, filters=[4], label_smoothing=0.3)
    data, network = open_trial(run.config(), run)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    evaluate = Classification().evaluate
    whole = evaluate(network, data, data.train, Attempt.at(run))
    with monkeypatch.context() as patch:
        patch.setattr(inference, "MAX_PIXELS", 1)
        sevens = Attempt(run, replace(run.config(), batch_size=7))
        small = evaluate(network, data, data.train, sevens)
    assert small["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert small["accuracy"] == whole["accuracy"]
    sizes: list[int] = []
    watch = network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    cut = evaluate(network, data, data.train, Attempt.at(run, accumulation=100))
    watch.remove()
    assert max(sizes) == 3, "a hundredth of the 256 that are evaluated at once"
    assert cut["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    logits = network.eval()(torch.from_numpy(data.images[data.train]))
    assert whole["loss"] == pytest.approx(
        functional.cross_entropy(logits, torch.from_numpy(data.labels[data.train])).item(), rel=1e-5
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(("width", "size", "sizes"), [
    (64, 64, [64]), (64, 32, [32, 32]), (51, 13, [13, 13, 13, 12]), (3, 13, [3]), (4, 1, [1] * 4),
    (3, 2, [3]), (5, 2, [3, 2]), (2, 2, [2]), (1, 2, [1]),
])  # fmt: skip
def test_micro_batches_have_all_images_and_no_image_is_alone(
    width: int, size: int, sizes: list[int]
) -> None:
    data = load(TrainConfig(), None)
    (whole,) = batches(data, data.train[:width], width, World())
    cut = micro_batches(whole, size)
    assert [len(part.images) for part in cut] == sizes
    assert {part.count for part in cut} == {width}
    for name in ("images", "targets", "weights"):
        assert torch.equal(torch.cat([getattr(part, name) for part in cut]), getattr(whole, name))


def test_batch_norm_survives_many_micro_batches(new_run: NewRun) -> None:
    run = new_run(model="cnn", filters=[4], epochs=1, batch_size=9)
    with contextlib.closing(train(Attempt.at(run, accumulation=4))) as records:
        assert [record["epoch"] for record in records] == [0, 1]
    smallest = new_run("smallest", model="cnn", filters=[4], batch_size=9)
    with pytest.raises(
        ConfigError,
        match="batch_size = 9 in 9 gradient accumulation steps: gives a process one image",
    ):
        next(train(Attempt.at(smallest, accumulation=9)))


def test_batch_norm_survives_a_last_batch_of_one_image(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(model="cnn", filters=[4], epochs=1, batch_size=193)
    assert len(load(run.config(), None).train) % 193 == 1
    train_until(run)
    assert run.result() is not None


def test_single_images_that_cannot_be_normalised_are_refused_before_training(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    refused = new_run("refused", model="cnn", filters=[4], batch_size=1)
    with pytest.raises(
        ConfigError,
        match=r"batch_size = 1: .* cnn cannot normalise over one of 8 pixels \(Expected more",
    ):
        train_until(refused)
    assert refused.records() == []
    problems = check(Attempt.at(refused))["problems"]
    assert len(problems) == 1
    assert problems[0].startswith("batch_size = 1: ")
    assert check(Attempt.at(refused), shapes_only=True)["problems"] == problems
    data, network = open_trial(refused.config(), refused)
    for size, batch_size, says in [
        (1, 2, None),
        (2, 2, "batch_size = 2"),
        (2, 3, None),
    ]:  # of `size` processes
        config = replace(refused.config(), batch_size=batch_size)
        with pytest.raises(ConfigError, match=says) if says else contextlib.nullcontext():
            require_micro_batch(network, data, Attempt(refused, config, World(size=size)))


@pytest.mark.parametrize(
    "fields",
    [{"freeze": "all_but_head"}, {"batch_norm": False}, {"image_size": 32, "classes": "2"}],
)
def test_single_images_are_trained_on_where_they_can_be(
    fields: dict[str, Any], new_run: NewRun, train_until: TrainUntil
) -> None:
    run = new_run(**{"model": "cnn", "filters": [2], "batch_size": 1, "epochs": 1, **fields})
    train_until(run)
    assert run.result() is not None
