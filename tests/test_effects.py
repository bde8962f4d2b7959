"""Each condition in the table of effects, against the code that reads the field."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.effects import (
    CONDITIONS,
    TRAINED,
    condition_text,
    effective,
    has_effect,
    without_effect,
)
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.fit import fit, open_trial
from fieldtrial.training.svm.classifier import fit_svm

BASE = TrainConfig(
    classes="2", images_per_class=20, image_size=16, blocks=2, filters=(4,), dense_width=(8,),
    batch_size=16, epochs=2, lr=0.01,
)  # fmt: skip
Fields = dict[str, Any]
MLP: Fields = {"model": "mlp"}
LIBRARY: Fields = {"model": "resnet18"}
SVM: Fields = {"classifier": "svm"}
SGD, ADAM, ADAMW, RMSPROP, ADAGRAD, NADAM = (
    {"optimizer": name} for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam")
)
STEP, PLATEAU, COSINE = ({"schedule": name} for name in ("step", "plateau", "cosine"))
CENTER, TRIPLET = {"loss": "center"}, {"loss": "triplet"}
LEVEL: Fields = MLP | {"lr": 1e-6, "epochs": 4}  # the loss falls, and the accuracy stays

# field: another value, changes of BASE with which it has an effect, and changes with which it has
# none; `idle_changes` adds a support vector machine to the latter.
CASES: dict[str, tuple[Any, list[Fields], list[Fields]]] = {
    "augmentation": (("horizontal_flip",), [{}], []),
    "freeze": ("all_but_head", [{}], []),
    "blocks": (3, [{}], [MLP, LIBRARY]),
    "convolutions": (2, [{}], [MLP, LIBRARY]),
    "filters": ((6,), [{}, {"filters": (4, 5)}], [MLP, LIBRARY]),
    "filter_growth": (2.0, [{}], [{"filters": (4, 5)}, {"blocks": 1}, MLP, LIBRARY]),
    "kernel_size": ((5,), [{}], [MLP, LIBRARY]),
    "padding": ("valid", [{}], [MLP, LIBRARY]),
    "activation": (
        "tanh", [{}, {"dense_width": ()}, MLP], [LIBRARY, MLP | {"dense_width": ()}],
    ),
    "batch_norm": (False, [{}], [MLP, LIBRARY]),
    "batch_norm_after": ("pool", [{}], [{"batch_norm": False}, MLP, LIBRARY]),
    "dense_width": ((4,), [{}, MLP], [LIBRARY]),
    "dropout": (0.5, [{}, MLP], []),
    "block_dropout": (0.5, [{}, MLP | {"dense_width": (8, 8)}, LIBRARY], [MLP]),
    "svm_kernel": ("rbf", [SVM], [{}]),
    "svm_scaling": ("standard", [SVM], [{}]),
    "svm_penalty": (1e-5, [SVM], [{}]),
    "optimizer": ("sgd", [{}], []),
    "lr": (0.1, [{}], []),
    "momentum": (0.5, [SGD, RMSPROP], [ADAM, ADAMW, ADAGRAD, NADAM]),
    "nesterov": (True, [SGD], [SGD | {"momentum": 0.0}, RMSPROP, ADAM, ADAMW, ADAGRAD, NADAM]),
    "betas": ((0.5, 0.9), [ADAM, ADAMW, NADAM], [SGD, RMSPROP, ADAGRAD]),
    "epsilon": (0.1, [ADAM, ADAMW, RMSPROP, ADAGRAD, NADAM], [SGD]),
    "weight_decay": (0.5, [SGD, ADAM, ADAMW, RMSPROP, ADAGRAD, NADAM], []),
    "schedule": ("linear", [{}], []),
    "warmup_fraction": (0.5, [{}, STEP, PLATEAU, {"schedule": "one_cycle"}], []),
    "step_epochs": (1, [STEP], [{}, COSINE, PLATEAU]),
    "gamma": (
        0.5, [STEP | {"step_epochs": 1}, LEVEL | PLATEAU | {"plateau_patience": 1}], [{}, COSINE],
    ),
    "plateau_patience": (1, [LEVEL | PLATEAU], [LEVEL, LEVEL | STEP]),
    "loss": ("center", [{}], []),
    "loss_weight": (1.0, [CENTER, TRIPLET], [{}]),
    "center_lr": (0.1, [CENTER], [{}, TRIPLET]),
    "margin": (1.0, [TRIPLET], [{}, CENTER]),
    "label_smoothing": (0.2, [{}], []),
    "gradient_clip": (1e-3, [SGD], []),
    "batch_size": (8, [{}], []),
    "shuffle": (False, [{}], []),
    "epochs": (1, [{}], []),
    "select": ("validation_loss", [LEVEL | {"patience": 1}], []),
    "patience": (1, [LEVEL], []),
    "strategy": ("zero1", [], []),  # needs several processes: see tests/sweeps
}  # fmt: skip
FACTS = ("seconds", "images_per_second", "data_wait", "peak_memory_mb")  # of the machine


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for so few numbers, several only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def outcome(config: TrainConfig) -> Any:
    """Return what the config comes to: all records of its training, or a library's network."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", config)
        if config.model not in ("cnn", "mlp"):
            model = open_trial(config, run)[1]
            return str(model), [float(tensor.detach().sum()) for tensor in model.parameters()]
        if config.classifier == "svm":
            records = [fit_svm(config, run, World(), ("validation",)).record]
        else:
            records = list(fit(config, run, World()))
    return [{k: v for k, v in record.items() if k not in FACTS} for record in records]


def pairs(name: str, changes: list[Fields]) -> list[tuple[TrainConfig, TrainConfig]]:
    """Return BASE with each of the changes, and the same with the other value of the field."""
    configs = [TrainConfig.from_dict(change, BASE) for change in changes]
    return [(config, TrainConfig.from_dict({name: CASES[name][0]}, config)) for config in configs]


def idle_changes(name: str) -> list[Fields]:
    """Return the changes without an effect; a field of training has none for a machine."""
    trained = [*CASES[name][1], {}][0]
    return [*CASES[name][2], *([trained | SVM] if TRAINED in CONDITIONS[name] else [])]


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_field_has_an_effect_where_the_table_says_so(name: str) -> None:
    for config, other in pairs(name, CASES[name][1]):
        assert has_effect(name, config)
        assert outcome(config) != outcome(other), config.to_flags()


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_field_has_no_effect_where_the_table_says_so(name: str) -> None:
    for config, other in pairs(name, idle_changes(name)):
        assert not has_effect(name, config)
        assert outcome(config) == outcome(other), config.to_flags()
        assert effective(config) == effective(other)


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_fails_alone_in_a_case(name: str) -> None:
    missed = set()
    for config, _ in pairs(name, idle_changes(name)):
        failing = [one.text for one in CONDITIONS[name] if not one.holds(config)]
        missed |= set(failing) if len(failing) == 1 else set()
    assert missed == {condition.text for condition in CONDITIONS[name]}


def test_every_field_of_the_table_is_one_and_has_a_case() -> None:
    assert list(CASES) == list(CONDITIONS)
    assert set(CONDITIONS) <= set(FIELDS)


def test_a_search_may_give_a_field_its_effect() -> None:
    config = TrainConfig(optimizer="adamw", filters=(8,) * 5)
    assert not has_effect("momentum", config)
    assert has_effect("momentum", config, {"optimizer": ["adamw", "sgd"]})
    assert not has_effect("momentum", config, {"optimizer": ["adamw", "adam"]})
    assert not has_effect("nesterov", config, {"optimizer": ["sgd"], "momentum": [0.0]})
    assert has_effect("filter_growth", config, {"filters": [(8,), (8,) * 5]})
    assert not has_effect("filter_growth", config, {"blocks": [3, 5]})  # 3 fits no 5 filters


def test_fields_without_effect_are_named_with_what_they_need() -> None:
    config = TrainConfig(model="mlp", momentum=0.5, kernel_size=(5,), seed=3, blocks=4)
    assert without_effect(config, ["kernel_size", "momentum", "padding", "seed"]) == [
        "kernel_size = 5 has no effect: it needs model = cnn",
        "momentum = 0.5 has no effect: it needs optimizer = sgd or rmsprop, classifier = softmax",
    ]
    assert condition_text("seed") == ""
