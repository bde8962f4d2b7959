"""Which fields have an effect: the table against the code that reads the fields."""

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from fieldtrial.command_line import warn_of_no_effect
from fieldtrial.config import FIELDS, ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.effects import CONDITIONS, condition_text, effective, has_effect, without_effect
from fieldtrial.fields.choices import Loss, Optimizer, Schedule, TaskName
from fieldtrial.sweep import Sweep, grid
from fieldtrial.training.data.load import DataShape, load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.cached_views import ViewData, with_views
from fieldtrial.training.freezing.schemes import freeze
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.batches import order_of
from fieldtrial.training.loop.fit import Fit
from fieldtrial.training.loop.losses import FEATURE_LOSSES, WEIGHTS
from fieldtrial.training.loop.optimizers import build_optimizer, learning_rate
from fieldtrial.training.loop.trial_progress import TrialProgress
from fieldtrial.training.models.source import ModelSource, build
from fieldtrial.training.parts.part import part_of
from fieldtrial.training.svm.classifier import fit_svm
from fieldtrial.training.tasks.registry import task_of
from tests.training.trials_of_tasks import learned

SEEN = 6  # epochs of a schedule and steps of an optimiser that are compared


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for so few numbers, several only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(config: TrainConfig) -> object:
    """Return what the model of `config` computes in training from fixed images, and its layers."""
    torch.manual_seed(0)
    source = ModelSource.of(config)
    shape = DataShape(classes=3, channels=3, image_size=64)
    model, _ = source.library.create(source.name, config, shape)
    torch.manual_seed(1)
    output = model.train()(torch.rand(4, 3, 64, 64))
    return str(model), output.detach().numpy().tobytes()


def update(config: TrainConfig) -> object:
    """Return a weight after a few steps of the optimiser of `config`."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = build_optimizer([weight], config)
    for _ in range(SEEN):
        optimizer.zero_grad()
        (weight**2 + weight).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return tuple(weight.tolist())


def rates(config: TrainConfig) -> object:
    """Return the learning rates of a few epochs of two steps, with a plateau after the second."""
    config = replace(config, epochs=SEEN)
    plateaus = [max(0, step // 2 - config.plateau_patience) for step in range(2 * SEEN)]
    return [learning_rate(config, step, 2 * SEEN, plateau) for step, plateau in enumerate(plateaus)]


def feature_loss(config: TrainConfig) -> object:
    """Return the weighted losses of two batches of features, of the loss beside cross-entropy."""
    if config.loss not in FEATURE_LOSSES:
        return None
    weight = WEIGHTS[config.loss] if config.loss_weight is None else config.loss_weight
    loss = part_of("loss", config.loss, config, FEATURE_LOSSES)(2, World())
    features = torch.tensor([[0.0, 1.0], [0.5, 1.0], [0.2, 0.0], [0.9, 0.1]])
    totals = []
    for _ in range(2):
        totals.append(weight * float(loss(features, torch.tensor([0, 0, 1, 1]), torch.ones(4))[1]))
        loss.end_batch()
    return totals


def framing(config: TrainConfig) -> object:
    """Return how images of 16 pixels are made, and whether crops are drawn from larger ones."""
    small = replace(config, image_size=16)
    data = load(small, 16, recipe=ModelSource.of(small).recipe)
    return data.recipe, data.originals is not None


def kept_views(config: TrainConfig) -> object:
    """Return whether training shows kept views of its images, and how many."""
    small = replace(config, model="mlp", images_per_class=4)
    data = load(small, None)
    source = ModelSource.of(small)
    network = build(source, data.shape, data.mean, data.std)
    freeze(network, small.freeze)
    _, shown = with_views(network, data, small, World())
    return len(shown.views) if isinstance(shown, ViewData) else 0


def taken(config: TrainConfig) -> object:
    """Return how many images the task of `config` trains on."""
    small = replace(config, dataset="digits" if config.task == "classification" else "shapes")
    return len(
        task_of(small).load(replace(small, model="darknet:x.cfg"), 96, "content", None).train
    )


def order(config: TrainConfig) -> object:
    """Return which images an epoch trains on, in which order."""
    return order_of(load(replace(config, task="classification"), None), config, 1).tolist()


Probe = Callable[[TrainConfig], object]
MODELS = ["cnn", "mlp", "resnet18"]
OPTIMIZERS = list(get_args(Optimizer))
SCHEDULES = list(get_args(Schedule))
LOSSES = list(get_args(Loss))
TASKS = list(get_args(TaskName))
# probe of the code that reads a field -> the field, two of its values, and fields that decide
CASES: list[tuple[Probe, str, Any, Any, dict[str, list[Any]]]] = [
    (
        taken, "images_per_class", 4, 8,
        {"task": TASKS, "select": ["last"]},
    ),
    (learned, "classes", "2", "3", {"task": TASKS, "select": ["last"]}),
    (learned, "target", "covered", "another", {"task": TASKS, "select": ["last"]}),
    (
        kept_views, "cached_views", 1, 2,
        {
            "augmentation": [(), ("rotation",)],
            "freeze": ["none", "all_but_head", "probe_then_all:1"],
        },
    ),
    (
        kept_views, "cached_views", 1, 2,
        {"augmentation": [("rotation",)], "freeze": ["all_but_head"], "mixup": [0.0, 0.2]},
    ),
    (
        order, "shuffle", True, False,
        {"sampling": ["all", "balanced"], "task": ["classification", "detection"],
         "select": ["last"]},
    ),
    (
        order, "sampling", "all", "balanced",
        {"task": ["classification", "detection"], "select": ["last"]},
    ),
    (network, "blocks", 2, 3, {"model": MODELS}),
    (network, "convolutions", 1, 2, {"model": MODELS}),
    (network, "filters", (4,), (8,), {"model": MODELS}),
    (
        network, "filter_growth", 1.0, 2.0,
        {"model": MODELS, "filters": [(4,), (4, 4)], "blocks": [2]},
    ),
    (network, "filter_growth", 1.0, 2.0, {"blocks": [1, 2], "filters": [(4,)]}),
    (network, "kernel_size", (3,), (5,), {"model": MODELS}),
    (network, "padding", "same", "valid", {"model": MODELS}),
    (
        network, "activation", "relu", "tanh",
        {"model": MODELS, "dense_width": [(), (8,)]},
    ),
    (network, "batch_norm", True, False, {"model": MODELS}),
    (
        network, "batch_norm_after", "convolution", "pool",
        {"model": MODELS, "batch_norm": [True, False]},
    ),
    (network, "dense_width", (8,), (16,), {"model": MODELS}),
    (network, "dropout", 0.0, 0.5, {"model": ["cnn", "mlp", "squeezenet1_1"]}),
    (
        network, "block_dropout", 0.0, 0.5,
        {"model": MODELS, "dense_width": [(), (8,), (8, 8)]},
    ),
    (
        network, "stochastic_depth", 0.0, 0.9,
        {"model": ["cnn", "mlp", "timm:resnet18"]},
    ),
    *[
        (update, name, one, other, {"optimizer": OPTIMIZERS, "momentum": momenta})
        for name, one, other, momenta in (
            ("nesterov", False, True, [0.0, 0.9]),
            ("betas", (0.9, 0.999), (0.5, 0.9), [0.9]),
            ("epsilon", 1e-8, 0.1, [0.9]),
            ("weight_decay", 0.0, 0.1, [0.9]),
            ("lr", 0.1, 0.2, [0.9]),
        )
    ],
    (update, "decay_all", True, False, {"weight_decay": [0.0, 0.1]}),
    (
        framing, "preprocessing", "recipe", "square",
        {"model": ["cnn", "resnet18"], "weights": ["random", "imagenet"],
         "augmentation": [(), ("crop",), ("rotation",)]},
    ),
    (update, "momentum", 0.0, 0.9, {"optimizer": OPTIMIZERS}),
    *[
        (rates, name, one, other, {"schedule": SCHEDULES, "gamma": gammas})
        for name, one, other, gammas in (
            ("gamma", 0.1, 0.5, [0.1]),
            ("step_epochs", 1, 2, [0.1, 1.0]),
            ("plateau_patience", 1, 2, [0.1, 1.0]),
            ("warmup_fraction", 0.0, 0.5, [0.1]),
        )
    ],
    *[
        (feature_loss, name, one, other, {"loss": LOSSES, "loss_weight": weights})
        for name, one, other, weights in (
            ("center_lr", 0.1, 0.9, [None, 0.0, 0.5]),
            ("margin", 0.3, 1.0, [None, 0.0, 0.5]),
            ("loss_weight", 0.1, 0.5, [None]),
        )
    ],
]  # fmt: skip
# What the cases start from: small, and every schedule falls within the epochs that are seen.
BASE = TrainConfig(
    blocks=2, filters=(4,), dense_width=(8,), step_epochs=1, plateau_patience=1, lr=0.1
)


def settings(name: str, deciding: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return one dictionary for each combination of the deciding fields other than `name`."""
    names = [field for field in deciding if field != name]
    values = itertools.product(*(deciding[field] for field in names))
    return [dict(zip(names, combination, strict=True)) for combination in values]


@pytest.mark.parametrize(
    ("probe", "name", "one", "other", "setting"),
    [
        pytest.param(probe, name, one, other, setting, id=f"{name}-{setting}")
        for probe, name, one, other, deciding in CASES
        for setting in settings(name, deciding)
    ],
)
def test_the_code_reads_a_field_exactly_where_the_table_says(
    probe: Probe, name: str, one: Any, other: Any, setting: dict[str, Any]
) -> None:
    first = replace(BASE, **setting, **{name: one})
    second = replace(BASE, **setting, **{name: other})
    assert (probe(first) != probe(second)) == has_effect(name, second)


@pytest.mark.parametrize("name", ["svm_kernel", "svm_scaling", "svm_penalty"])
def test_only_a_machine_reads_the_fields_of_machines(name: str) -> None:
    assert has_effect(name, TrainConfig(classifier="svm"))
    assert not has_effect(name, TrainConfig())


# a value other than the default for each field that only training reads
TRAINING: dict[str, Any] = {
    "augmentation": ("horizontal_flip",), "cached_views": 2, "freeze": "all_but_head",
    "mixup": 0.2, "cutmix": 1.0, "test_flips": True, "sampling": "balanced", "ema_decay": 0.9,
    "class_weights": "balanced", "stochastic_depth": 0.5, "dropout": 0.5, "block_dropout": 0.5,
    "optimizer": "sgd", "lr": 0.5, "layer_decay": 0.5, "momentum": 0.5, "nesterov": True,
    "betas": (0.5, 0.9), "epsilon": 0.1, "weight_decay": 0.1, "decay_all": False,
    "schedule": "step", "warmup_fraction": 0.5, "step_epochs": 1, "gamma": 0.5,
    "plateau_patience": 1,
    "loss": "center", "loss_weight": 0.5, "center_lr": 0.1, "margin": 1.0,
    "label_smoothing": 0.1, "gradient_clip": 1e-3, "batch_size": 8, "shuffle": False,
    "epochs": 3, "select": "validation_loss", "patience": 1, "strategy": "zero1",
    "compile": "on",
}  # fmt: skip
MACHINE = replace(BASE, classifier="svm", images_per_class=8)


@pytest.mark.parametrize("name", TRAINING)
def test_a_machine_reads_no_field_of_training(name: str, tmp_path: Path) -> None:
    config = replace(MACHINE, **{name: TRAINING[name]})
    assert not has_effect(name, config)
    predictions = []
    for number, one in enumerate([MACHINE, config]):
        run = Run.create(tmp_path / str(number), one)
        predictions.append(fit_svm(Attempt(run, one)).scored["validation"])
    # another batch size adds in another order
    first, second = (np.exp(one.log_probability) for one in predictions)
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["augmentation", "freeze", "optimizer", "lr", "layer_decay", "loss", "label_smoothing",
     "gradient_clip", "batch_size", "shuffle", "epochs", "weight_decay", "mixup", "cutmix",
     "sampling"],
)  # fmt: skip
def test_training_reads_the_fields_of_training(name: str, tmp_path: Path) -> None:
    base = replace(BASE, images_per_class=8, epochs=2, batch_size=16)
    config = replace(base, **{name: TRAINING[name]})
    assert has_effect(name, config)
    losses = []
    for number, one in enumerate([base, config]):
        run = Run.create(tmp_path / str(number), one)
        losses.append([record["train_loss"] for record in Fit(Attempt(run, one)).records()])
    assert losses[0] != losses[1]


def test_training_reads_what_chooses_and_ends_it() -> None:
    by_loss, by_accuracy = TrialProgress(), TrialProgress()
    for loss, accuracy in ((9.0, 0.1), (0.5, 0.8), (0.6, 0.9), (0.7, 0.9)):
        scores = {"loss": loss, "accuracy": accuracy}
        by_loss.add(scores, 1.0, TrainConfig(select="validation_loss"))
        by_accuracy.add(scores, 1.0, TrainConfig(select="validation_accuracy"))
    assert (by_loss.best_epoch, by_accuracy.best_epoch) == (1, 2)
    ends = [by_loss.end(TrainConfig(patience=patience)) for patience in (None, 2, 3)]
    assert ends == [None, "patience", None]


def test_every_field_of_the_table_is_checked_above() -> None:
    checked = {case[1] for case in CASES} | TRAINING.keys()
    assert checked | {"svm_kernel", "svm_scaling", "svm_penalty"} == CONDITIONS.keys()
    assert {name for name in CONDITIONS if "classifier = softmax" in condition_text(name)} == (
        TRAINING.keys()
    )
    assert CONDITIONS.keys() <= FIELDS.keys()


def test_fields_without_effect_are_told_and_put_at_their_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = TrainConfig(momentum=0.5, kernel_size=(5,), lr=0.1)
    assert without_effect(config) == [
        "momentum = 0.5 has no effect: it needs optimizer = sgd or rmsprop, classifier = softmax"
    ]
    assert effective(config) == TrainConfig(kernel_size=(5,), lr=0.1)
    flags = argparse.Namespace(momentum="0.5", lr="0.1")
    warn_of_no_effect(flags, config)
    assert capsys.readouterr().err == f"warning: {without_effect(config)[0]}\n"


def test_a_searched_value_gives_other_fields_their_effect() -> None:
    config = TrainConfig(momentum=0.5)
    searched = {"optimizer": ["adamw", "sgd"]}
    assert has_effect("momentum", config, searched)
    assert effective(config, searched) == config


def test_some_source_must_read_each_field_that_a_sweep_sets_for_sources() -> None:
    rows = grid(model=["cnn", "mlp"])
    read_by_one = {"kernel_size": (5,), "momentum": 0.5, "optimizer": "sgd"}
    assert Sweep(base=TrainConfig(), rows=rows, source=read_by_one).planned
    with pytest.raises(ConfigError) as caught:
        Sweep(base=TrainConfig(), rows=rows, source={"momentum": 0.5, "batch_size": 16})
    assert caught.value.problems == [
        "source momentum: has no effect: it needs optimizer = sgd or rmsprop, classifier = softmax"
    ]
