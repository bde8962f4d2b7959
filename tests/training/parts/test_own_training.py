"""Losses, optimisers, schedules, augmentations, freezing schemes and metrics of one's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.effects import has_effect
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.together import group_of
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import Fit, open_trial
from fieldtrial.training.scoring.evaluation import evaluate_elsewhere, evaluate_run
from fieldtrial.training.tasks.own_loss import try_loss
from fieldtrial.training.tasks.registry import task_of
from tests.training.networks import network_for

NewRun = Callable[..., Run]
TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]
Project = Callable[..., str]

PARTS = """
import numpy as np
import torch
from torch.nn import functional


def mean_loss(outputs, targets, smoothing: float = 0.0):
    return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)


def each_loss(outputs, targets, smoothing: float = 0.0):
    return functional.cross_entropy(outputs, targets, label_smoothing=smoothing,
                                    reduction="none")


def of_features(outputs, targets, features, share: float = 0.1):
    return functional.cross_entropy(outputs, targets) + share * features.square().mean()


class Momentum(torch.optim.SGD):
    def __init__(self, parameters, lr, weight_decay, keep: float = 0.9):
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, momentum=keep)


def line(moment, end: float = 0.0):
    return 1 - (1 - end) * moment.done


def noise(images, generator, strength: float = 0.1):
    drawn = torch.rand(images.shape, generator=generator).to(images.device)
    return (images + strength * drawn).clamp(0, 1)


def below(model, units, depth: int = 1):
    return [name for unit in units[:depth] for name in unit.parameters]


def balanced(probabilities, labels):
    guesses = probabilities.argmax(1)
    return np.mean([(guesses[labels == one] == one).mean() for one in np.unique(labels)])


def brier(probabilities, labels, scale: float = 1.0):
    right = np.eye(probabilities.shape[1])[labels]
    return scale * ((probabilities - right) ** 2).sum(1).mean()


brier.more_is_better = False
"""
NAMES = (
    "mean_loss",
    "each_loss",
    "of_features",
    "Momentum",
    "line",
    "noise",
    "below",
    "balanced",
    "brier",
)
BUILT_IN = {
    "optimizer": "sgd",
    "momentum": 0.8,
    "schedule": "linear",
    "label_smoothing": 0.1,
    "freeze": "first:1",
    "model": "cnn",
    "blocks": 2,
    "filters": [4],
    "batch_size": 50,
    "weight_decay": 0.01,
    "lr": 0.05,
}


@pytest.fixture
def parts(project: Project) -> str:
    return project(PARTS, *NAMES)


def owned(module: str) -> dict[str, Any]:
    """Return the fields of BUILT_IN with own parts in their places."""
    own = {
        name: one for name, one in BUILT_IN.items() if name not in ("momentum", "label_smoothing")
    }
    return own | {
        "optimizer": f"{module}:Momentum",
        "optimizer.keep": 0.8,
        "schedule": f"{module}:line",
        "loss": f"{module}:mean_loss",
        "loss.smoothing": 0.1,
        "freeze": f"{module}:below",
        "freeze.depth": 1,
    }


@pytest.mark.parametrize("loss", ["mean_loss", "each_loss"])
def test_parts_that_a_user_wrote_do_what_the_same_ones_here_do(
    loss: str, parts: str, new_run: NewRun, train_until: TrainUntil
) -> None:
    here = train_until(new_run("here", **BUILT_IN))
    own = new_run("own", **owned(parts) | {"loss": f"{parts}:{loss}"})
    there = train_until(own)
    for name in ("train_loss", "validation_loss", "lr", "train_accuracy", "gradient_norm"):
        values = [[record.get(name, 0) for record in one] for one in (here, there)]
        assert values[0] == pytest.approx(values[1], rel=1e-4), name
    assert group_of(own.config()) == ""
    assert not has_effect("label_smoothing", own.config())


@pytest.mark.usefixtures("each_epoch_saved")
def test_a_trial_of_own_parts_resumes_bit_for_bit(
    parts: str, new_run: NewRun, train_until: TrainUntil, numbers: Numbers
) -> None:
    fields = owned(parts) | {
        "augmentation": ["horizontal_flip", f"{parts}:noise"],
        "augmentation.strength": 0.2,
        "classes": "0,1,2",
        "loss": f"{parts}:of_features",
        "metrics": [f"{parts}:balanced", f"{parts}:brier"],
        "metrics.scale": 0.5,
    }
    del fields["loss.smoothing"]
    whole, halved, other = (new_run(name, **fields) for name in ("whole", "halved", "other"))
    train_until(whole, test=True)
    train_until(halved, last_epoch=1)
    train_until(halved, attempt=2, test=True)
    assert numbers(halved)[-2:] == numbers(whole)[-2:]
    results = [one.result() or {} for one in (whole, halved)]
    assert results[0]["test_brier"] == results[1]["test_brier"]
    # Neither the augmentation nor its options are of any use there.
    elsewhere = evaluate_elsewhere(whole, World(), "digits")
    assert elsewhere["test_balanced"] == results[0]["test_balanced"]
    louder = new_run("louder", **fields | {"augmentation.strength": 0.9})
    train_until(louder, last_epoch=1)
    assert numbers(louder)[1]["train_loss"] != numbers(whole)[1]["train_loss"]
    assert other.config().id == whole.config().id != louder.config().id


def test_metrics_are_of_both_splits_and_say_which_way_is_better(
    parts: str, new_run: NewRun, train_until: TrainUntil
) -> None:
    fields = {"metrics": [f"{parts}:balanced", f"{parts}:brier"], "metrics.scale": 2.0}
    run = new_run(**fields)
    train_until(run, test=True)
    result = run.result() or {}
    for split in ("validation", "test"):
        made = load_predictions(run, split)
        guesses = made.log_probability.argmax(1)
        assert result[f"{split}_balanced"] == pytest.approx(
            balanced_accuracy_score(made.label, guesses)
        )
        wrong = np.exp(made.log_probability) - np.eye(3)[made.label]
        assert result[f"{split}_brier"] == pytest.approx(2 * (wrong**2).sum(1).mean(), rel=1e-5)
    assert result["small_is_better"] == ["brier"]
    again = evaluate_run(run, World(), ("test",))
    assert again["test_brier"] == pytest.approx(result["test_brier"], rel=1e-5)


@pytest.mark.parametrize("shape", ["mean_loss", "each_loss", "of_features"])
def test_padding_does_not_count_in_a_loss(shape: str, parts: str) -> None:
    config = TrainConfig.from_dict({"model": "mlp", "loss": f"{parts}:{shape}"})
    network = network_for(config)
    objective = task_of(config).objective(network, config, data_of(5), World())
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    expected, _ = objective(network(images[:4]), labels[:4], None)
    weights = torch.tensor([1.0, 1, 1, 1, 0, 0])
    padded, value = objective(network(images), labels, weights)
    assert padded.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not value.requires_grad
    nothing, _ = objective(network(images), labels, torch.zeros(6))
    nothing.backward()  # type: ignore[no-untyped-call]
    assert nothing.item() == 0


def data_of(classes: int) -> Any:
    """Return what an objective asks of data."""
    return type("Known", (), {"class_names": tuple(map(str, range(classes)))})()


WRONG: list[tuple[str, str, str]] = [
    ("loss", "return 3.0", "gave a float for 8 images; a tensor of shape (8,) or a scalar"),
    ("loss", "return outputs", "gave a Tensor of shape (8, 3) for 8 images"),
    ("loss", "return outputs.detach().mean()", "has no gradient"),
    ("optimizer", "return 3", "gave an int, an optimiser of torch was expected"),
    (
        "optimizer",
        "return torch.optim.SGD(parameters[0]['params'][:1], lr=lr)",
        "lacks 3 of the 4 trainable parameters",
    ),
    (
        "optimizer",
        "return torch.optim.LBFGS([p for g in parameters for p in g['params']], lr=lr)",
        "its step needs a closure",
    ),
    (
        "optimizer",
        "made = torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay)\n"
        "    made.register_step_post_hook(lambda one, *_: one.param_groups[0].update(count=3))\n"
        "    return made",
        "changes count in its param_groups, which no checkpoint holds",
    ),
    ("schedule", "return -1", "gave -1 at Moment("),
    ("schedule", "return 'high'", "gave 'high' at Moment("),
    ("augmentation", "return images[:, :, 1:]", "gave a Tensor of shape (50, 1, 7, 8)"),
    ("augmentation", "return None", "gave None, a tensor was expected"),
    ("metrics", "return float('nan')", "must be a finite number"),
    ("metrics", "return outputs", "gave a ndarray of shape"),
    ("freeze", "return ['head.weight', 'neck']", "the model has no parameters 'neck'; it has"),
    ("freeze", "return 'head.weight'", "gave a str, names of parameters were expected"),
    ("freeze", "return []", "freezes nothing; the model's 2 units are"),
]
TAKES = {
    "loss": "outputs, targets",
    "optimizer": "parameters, lr, weight_decay",
    "schedule": "moment",
    "augmentation": "images, generator",
    "metrics": "outputs, targets",
    "freeze": "model, units",
}


@pytest.mark.parametrize(("kind", "line", "says"), WRONG)
def test_what_a_part_gives_wrong_is_said_in_one_line(
    kind: str, line: str, says: str, project: Project, new_run: NewRun
) -> None:
    module = project(f"import torch\ndef wrong({TAKES[kind]}):\n    {line}\n", "wrong")
    name = f"{module}:wrong"
    run = new_run(batch_size=50, **{kind: [name] if kind in ("augmentation", "metrics") else name})
    with pytest.raises(ValueError, match=rf"^{kind} = '{name}': ") as caught:
        list(Fit(Attempt.at(run)).records())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


TARGETS = {
    "classification": "targets.dtype == torch.int64 and targets.shape == (8,)",
    "multilabel": "targets.dtype == torch.float32 and targets.shape == (8, 3)",
    "regression": "targets.dtype == torch.float32 and targets.shape == (8, 1)",
}


@pytest.mark.parametrize("task", TARGETS)
def test_a_loss_is_tried_before_a_trial_with_what_its_task_gives(
    task: str, project: Project, new_run: NewRun
) -> None:
    source = (
        "import torch\n"
        "def of_outputs(outputs, targets, gives: float = 1.0):\n"
        f"    assert {TARGETS[task]}\n"
        "    assert outputs.shape == (8, targets.shape[1] if targets.ndim > 1 else 3)\n"
        "    torch.rand(3)\n"
        "    return outputs.mean() if gives else outputs.mean().detach()\n"
        "def of_features(outputs, targets, features):\n"
        "    assert features.shape == (8, 16) and features.requires_grad\n"
        "    return 3\n"
    )
    module = project(source, "of_outputs", "of_features")
    data, network = open_trial((run := new_run()).config(), run)
    torch.manual_seed(1)
    fields: dict[str, object] = {"task": task, "select": "validation_loss"}
    own = {**fields, "loss": f"{module}:of_outputs"}
    try_loss(network, TrainConfig.from_dict(own), data)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert drawn == torch.rand(1)
    wrong: tuple[dict[str, object], ...] = (
        own | {"loss.gives": 0.0},
        fields | {"loss": f"{module}:of_features"},
    )
    for one, says in zip(wrong, ("has no gradient", "gave an int for 8 images"), strict=True):
        with pytest.raises(ConfigError, match=says):
            try_loss(network, TrainConfig.from_dict(one), data)


def test_a_check_tries_the_loss(project: Project, new_run: NewRun) -> None:
    module = project("def part(outputs, targets): return 3.0\n", "part")
    run = new_run(loss=f"{module}:part")
    (problem,) = check(Attempt.at(run))["problems"]
    assert problem.startswith(f"loss = '{module}:part': gave a float for 8 images")


def test_a_metric_is_tried_before_a_trial_and_needs_a_name_of_its_own(
    project: Project, new_run: NewRun
) -> None:
    module = project("def accuracy(outputs, targets): return 1.0\n", "accuracy")
    run = new_run(metrics=[f"{module}:accuracy"])
    with pytest.raises(ConfigError, match="something else in results is called accuracy too"):
        open_trial(run.config(), run)


def test_cached_views_are_of_the_options_of_an_augmentation(
    parts: str, new_run: NewRun, train_until: TrainUntil
) -> None:
    fields = {"augmentation": [f"{parts}:noise"], "cached_views": 2, "freeze": "first:1"}
    losses = []
    for strength in (0.1, 0.9):
        run = new_run(str(strength), **fields, **{"augmentation.strength": strength})
        losses.append(train_until(run, last_epoch=1)[1]["train_loss"])
    assert losses[0] != losses[1]
