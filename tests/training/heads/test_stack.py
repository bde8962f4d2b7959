"""Many heads at once take the steps that torch's optimisers take with each of them alone."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fieldtrial import together
from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Optimizer
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.heads.epochs import evaluate, train_epoch
from fieldtrial.training.heads.stack import Features, Heads
from fieldtrial.training.heads.updates import UPDATES
from fieldtrial.training.loop.batches import shuffled
from fieldtrial.training.loop.epoch import Diverged, EpochStatistics, measured_steps
from fieldtrial.training.loop.optimizers import build_optimizer, learning_rate
from fieldtrial.training.loop.trial_progress import TrialProgress

IMAGES, WIDTH, CLASSES, EPOCHS = 90, 12, 4, 5
CPU = torch.device("cpu")
RANDOM = np.random.default_rng(7)
FEATURES = RANDOM.normal(size=(IMAGES, WIDTH)).astype(np.float32)
LABELS = RANDOM.integers(0, CLASSES, IMAGES)
ALL = np.arange(IMAGES)
# of three heads: settings, and the images that they train on
SETTINGS: list[tuple[dict[str, object], Indices]] = [
    ({"lr": 1e-3, "shuffle": False}, ALL[:80]),
    (
        {
            "lr": 3e-3,
            "weight_decay": 0.1,
            "decay_all": False,
            "label_smoothing": 0.1,
            "momentum": 0.0,
            "schedule": "cosine",
            "seed": 1,
        },
        ALL[:75],
    ),
    (
        {
            "lr": 1e-2,
            "weight_decay": 0.01,
            "gradient_clip": 0.2,
            "momentum": 0.5,
            "nesterov": True,
            "betas": (0.8, 0.99),
            "epsilon": 1e-4,
            "schedule": "linear",
            "warmup_fraction": 0.3,
            "seed": 2,
        },
        ALL[11:],
    ),
]


def begun(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(CLASSES, WIDTH, generator=generator), torch.randn(
        CLASSES, generator=generator
    )


def configs(optimizer: str) -> list[TrainConfig]:
    fixed = {"optimizer": optimizer, "batch_size": 16, "epochs": EPOCHS}
    return [TrainConfig.from_dict({**fixed, **settings}) for settings, _ in SETTINGS]


def heads_of(configs: list[TrainConfig]) -> Heads:
    weights, biases = zip(*(begun(number) for number in range(len(configs))), strict=True)
    return Heads(configs, weights, biases)


def trained(
    heads: Heads, train: list[Indices], epochs: range = range(EPOCHS)
) -> list[EpochStatistics | Diverged]:
    """Train through these epochs, and return what the last one was like."""
    features = Features(FEATURES, LABELS, CPU)
    for epoch in epochs:
        progress = [TrialProgress(epoch=epoch) for _ in train]
        statistics = train_epoch(heads, features, train, progress)
    return statistics


def by_torch(config: TrainConfig, number: int, train: Indices) -> tuple[nn.Linear, float, float]:
    """Train a head alone, with the optimiser of torch; return it, and of its last epoch the mean
    loss, and the mean norm of the gradient in the measured steps.
    """
    layer = nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        for own, value in zip((layer.weight, layer.bias), begun(number), strict=True):
            own.copy_(value)
    optimizer = build_optimizer(layer.parameters(), config)
    steps = math.ceil(len(train) / config.batch_size)
    for epoch in range(1, EPOCHS + 1):
        order = shuffled(train, config, epoch) if config.shuffle else train
        total, norms = 0.0, []
        for i in range(steps):
            chosen = order[i * config.batch_size : (i + 1) * config.batch_size]
            logits = layer(torch.from_numpy(FEATURES[chosen]))
            labels = torch.from_numpy(LABELS[chosen])
            loss = functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            total += loss.item() * len(chosen)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            most = math.inf if config.gradient_clip is None else config.gradient_clip
            norm = float(nn.utils.clip_grad_norm_(layer.parameters(), most))
            norms += [norm] if i in measured_steps(steps) else []
            lr = learning_rate(config, (epoch - 1) * steps + i, steps * config.epochs)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
    return layer, total / len(train), sum(norms) / len(norms)


def test_trials_of_all_optimisers_that_have_a_rule_here_may_train_together() -> None:
    assert set(UPDATES) == set(together.OPTIMIZERS)


@pytest.mark.parametrize("optimizer", list(UPDATES))
def test_heads_train_together_as_each_of_them_alone(optimizer: Optimizer) -> None:
    heads = heads_of(configs(optimizer))
    train = [images for _, images in SETTINGS]
    statistics = trained(heads, train)
    for number, (config, images) in enumerate(zip(heads.configs, train, strict=True)):
        layer, loss, norm = by_torch(config, number, images)
        own = heads.parameters[number]
        torch.testing.assert_close(own[:, :-1], layer.weight.detach(), rtol=0, atol=1e-5)
        torch.testing.assert_close(own[:, -1], layer.bias.detach(), rtol=0, atol=1e-5)
        of_group = statistics[number]
        assert isinstance(of_group, EpochStatistics)
        assert of_group.scores["loss"] == pytest.approx(loss, abs=1e-5)
        assert of_group.gradient_norm == pytest.approx(norm, abs=1e-5)
        assert of_group.images == len(images)


@pytest.mark.parametrize("optimizer", list(UPDATES))
def test_a_head_goes_on_with_what_torch_has_saved_and_the_other_way_round(
    optimizer: Optimizer,
) -> None:
    config = configs(optimizer)[2]
    train = SETTINGS[2][1]
    half = heads_of([config, config])
    trained(half, [train, train], range(2))
    again = Heads([config], [half.parameters[1][:, :-1]], [half.parameters[1][:, -1]])
    state = half.updates.state(1)
    again.updates.load(0, state)
    trained(again, [train], range(2, EPOCHS))
    alone = Heads([config], [begun(1)[0]], [begun(1)[1]])
    trained(alone, [train])
    torch.testing.assert_close(again.parameters, alone.parameters, rtol=0, atol=1e-5)
    layer = nn.Linear(WIDTH, CLASSES)
    known = build_optimizer(layer.parameters(), config)
    layer(torch.ones(1, WIDTH)).sum().backward()
    known.step()
    kept = {name for name, one in known.state[layer.weight].items() if one is not None}
    assert state.keys() == kept


def test_heads_that_see_the_same_images_share_one_product_and_get_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TrainConfig(batch_size=16, epochs=EPOCHS)
    train = [ALL[:80], ALL[:80]]
    together, apart = heads_of([config, config]), heads_of([config, config])
    shapes = []
    rows = Features.rows

    def note(features: Features, chosen: list[Indices], heads: int) -> object:
        shapes.append(len(chosen))
        return rows(features, chosen, heads)

    monkeypatch.setattr(Features, "rows", note)
    trained(together, [train[0]] * 2)
    assert set(shapes) == {1}
    trained(apart, [ALL[:80].copy(), ALL[:80].copy()])
    assert set(shapes) == {1, 2}
    torch.testing.assert_close(together.parameters, apart.parameters, rtol=0, atol=1e-5)


def test_heads_are_evaluated_each_on_its_own_images() -> None:
    heads = heads_of([TrainConfig(), TrainConfig(label_smoothing=0.5)])
    chosen = [ALL[:10], ALL[5:90]]
    scores = evaluate(heads, Features(FEATURES, LABELS, CPU), chosen)
    for number, images in enumerate(chosen):
        weights, biases = begun(number)
        logits = torch.from_numpy(FEATURES[images]) @ weights.T + biases
        labels = torch.from_numpy(LABELS[images])
        plain = functional.cross_entropy(logits, labels).item()
        assert scores[number]["loss"] == pytest.approx(plain, abs=1e-5)
        right = (logits.argmax(1) == labels).double().mean().item()
        assert scores[number]["accuracy"] == pytest.approx(right)


def test_a_head_that_diverges_is_told_and_does_not_touch_the_others() -> None:
    steady = TrainConfig(optimizer="sgd", batch_size=16, epochs=EPOCHS, lr=0.01)
    wild = TrainConfig(optimizer="sgd", batch_size=16, epochs=EPOCHS, lr=1e38)
    heads, alone = heads_of([steady, wild]), heads_of([steady])
    train = ALL[:80]
    (first, problem), (own,) = trained(heads, [train] * 2), trained(alone, [train])
    assert isinstance(problem, Diverged)
    assert "the training loss is" in str(problem)
    assert f"(epoch {EPOCHS})" in str(problem)
    assert isinstance(first, EpochStatistics)
    assert isinstance(own, EpochStatistics)
    assert first.scores["loss"] == pytest.approx(own.scores["loss"], abs=1e-6)
    heads.keep([0])
    torch.testing.assert_close(heads.parameters, alone.parameters, rtol=0, atol=1e-6)
    assert [heads.updates.tensors["momentum_buffer"].shape[0], len(heads.configs)] == [1, 1]
