"""Weights of classes, balanced sampling and mixed images: by hand, and in a trial."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.load import load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import order_of, require_micro_batch
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.loop.losses import ClassObjective, balanced_weights
from fieldtrial.training.tasks.classification.task import Classification
from tests.training.networks import network_for

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]


def losses_by_hand(
    logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return cross-entropy (n,) as torch's documentation writes it down, an image at a time."""
    found = []
    for own, label in zip(logits.log_softmax(1), labels.tolist(), strict=True):
        spread = -(weights * own).sum() / len(weights)
        found.append((1 - smoothing) * -weights[label] * own[label] + smoothing * spread)
    return torch.stack(found)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [6, 3, 1])
    weights = balanced_weights(np.bincount(labels)).numpy()
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_mixed_image_is_that_of_both_labels_by_their_shares(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(4)
    logits, weights = torch.randn(5, 3, generator=generator), torch.tensor([0.5, 1.0, 3.0])
    own, other = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([1, 1, 0, 2, 2])
    config = TrainConfig(model="mlp", label_smoothing=smoothing)
    objective = ClassObjective(network_for(config, classes=3), config, 3, World(), weights)
    of_own, of_other = (losses_by_hand(logits, one, weights, smoothing) for one in (own, other))
    shares = 0.3 * torch.eye(3)[own] + 0.7 * torch.eye(3)[other]
    expected = 0.3 * of_own + 0.7 * of_other
    for targets, losses in ((shares, expected), (own, of_own)):
        assert objective(logits, targets, None)[1].item() == pytest.approx(losses.sum().item())
        padding = torch.tensor([1.0, 1, 1, 1, 0])
        found = objective(logits, targets, padding)[1].item()
        assert found == pytest.approx(losses[:4].sum().item())


def test_classes_count_alike_in_what_is_minimised_and_by_their_images_in_validation(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    fields: dict[str, Any] = {"epochs": 1, "batch_size": 10**6, "label_smoothing": 0.1}
    run = new_run(class_weights="balanced", **fields)
    records = train_until(run, last_epoch=1)
    data, network = open_trial(run.config(), run)
    counts = np.bincount(data.labels[data.train])
    assert len(set(counts)) > 1, "this test needs unequal classes"
    weights = torch.from_numpy(counts.sum() / (3 * counts)).float()
    images, labels = (torch.from_numpy(one[data.train]) for one in (data.images, data.labels))
    with torch.no_grad():
        found = losses_by_hand(network(images), labels, weights, 0.1).mean().item()
        images, labels = (
            torch.from_numpy(one[data.validation]) for one in (data.images, data.labels)
        )
        plain = losses_by_hand(network(images), labels, torch.ones(3)).mean().item()
    assert records[1]["train_loss"] == pytest.approx(found, rel=1e-5)
    assert records[0]["validation_loss"] == pytest.approx(plain, rel=1e-5)


def test_balanced_sampling_draws_each_class_alike_and_its_images_too() -> None:
    data = load(TrainConfig(classes="3"), None)
    labels = data.labels[data.train]
    zeros = data.train[labels == 0][:10]
    uneven = replace(data, train=np.sort(np.concatenate([zeros, data.train[labels > 0]])))
    config = TrainConfig(sampling="balanced", seed=3)
    orders = [order_of(uneven, config, epoch) for epoch in range(1, 31)]
    assert {len(order) for order in orders} == {len(uneven.train)}
    assert np.isin(orders, uneven.train).all()
    total = 30 * len(uneven.train)
    drawn = uneven.count(np.concatenate(orders))
    assert drawn.tolist() == pytest.approx([total / 3] * 3, abs=4 * (total * 2 / 9) ** 0.5)
    each = [(np.concatenate(orders) == zero).sum() for zero in zeros]
    assert each == pytest.approx([total / 30] * 10, abs=4 * (total / 30) ** 0.5)
    assert (orders[0] == order_of(uneven, config, 1)).all()
    assert (orders[0] != orders[1]).any()
    assert (orders[0] != order_of(uneven, replace(config, seed=4), 1)).any()


MIXED: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "epochs": 1}


def test_images_are_mixed_before_a_batch_is_cut_and_the_larger_share_is_right(
    new_run: NewRun, train_until: TrainUntil
) -> None:
    whole, cut = (new_run(name, **MIXED) for name in ("whole", "cut"))
    plain = train_until(new_run("plain", epochs=1))
    expected = train_until(whole)
    found = list(train(Attempt.at(cut, accumulation=2)))
    for name in ("train_loss", "train_accuracy", "validation_loss"):
        assert found[1][name] == pytest.approx(expected[1][name], rel=1e-5)
        assert expected[1][name] != plain[1][name]
    shares = torch.tensor([[0.3, 0.7, 0.0], [0.6, 0.0, 0.4], [0.0, 1.0, 0.0]])
    answers = torch.eye(3)[[1, 2, 1]]
    assert Classification().count_seen(answers, shares, torch.ones(3)).tolist() == [2]


def test_a_process_with_one_image_of_a_batch_has_nothing_to_mix_it_with(new_run: NewRun) -> None:
    run = new_run(mixup=0.2, batch_size=2)
    data, network = open_trial(run.config(), run)
    require_micro_batch(network, data, Attempt.at(run))
    with pytest.raises(
        ConfigError, match="batch_size = 2: gives a process one image at a time, and"
    ):
        require_micro_batch(network, data, Attempt.at(run, World(size=2)))


@pytest.mark.usefixtures("each_epoch_saved")
@pytest.mark.parametrize("last_epoch", [0, 2, 4])
def test_a_trial_with_all_parts_goes_on_bit_for_bit(
    last_epoch: int, new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields: dict[str, Any] = {
        **MIXED, "model": "cnn", "filters": [4], "blocks": 2, "epochs": 4, "seed": 3,
        "augmentation": ["rotation"], "label_smoothing": 0.1, "class_weights": "balanced",
        "sampling": "balanced", "ema_decay": 0.9, "test_flips": True,
    }  # fmt: skip
    whole, halted = (new_run(name, **fields) for name in ("whole", "halted"))
    train_until(whole, test=True)
    train_until(halted, last_epoch=last_epoch)
    train_until(halted, attempt=2, test=True)
    assert numbers(halted) == numbers(whole)
    assert halted.weights_path.read_bytes() == whole.weights_path.read_bytes()
    one, other = (dict(np.load(run.predictions_path("test"))) for run in (whole, halted))
    np.testing.assert_equal(one, other)
