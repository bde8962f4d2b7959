"""Labels and numbers of images are learned, resumed, scored, and kept apart from other data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score
from torch.nn import functional

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.run import Record, Run
from fieldtrial.fields.choices import TaskName
from fieldtrial.insight.subject import open_subject
from fieldtrial.results.read.answers import StoredLabels, StoredNumbers, load_answers
from fieldtrial.results.table.command import main as table
from fieldtrial.sweep import Sweep
from fieldtrial.together import group_of
from fieldtrial.training.attempt.preflight import check
from fieldtrial.training.data import load as data_module
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing import feature_cache
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.scoring.evaluation import evaluate_elsewhere, evaluate_run
from fieldtrial.training.tasks.multilabel.task import cross_entropy
from fieldtrial.training.tasks.regression.task import squared_error
from tests.training.data.labels.pictures import SIDE, table_text, write_folder

TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]
TASKS: dict[TaskName, dict[str, Any]] = {
    "multilabel": {"task": "multilabel", "select": "validation_map"},
    "regression": {"task": "regression", "select": "validation_mae", "target": "length"},
}
SMALL = {
    "model": "mlp", "dense_width": [32], "image_size": SIDE, "epochs": 8, "batch_size": 16,
    "lr": 0.003,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 160 pictures, and labels.csv."""
    root = tmp_path_factory.mktemp("pictures")
    write_folder(root, 160)
    return root


@pytest.fixture
def run_of(folder: Path, tmp_path: Path) -> Callable[..., Run]:
    """Make the run of a task on these pictures."""

    def make(task: TaskName, name: str = "run", **fields: object) -> Run:
        values = {"dataset": f"folder:{folder}", **SMALL, **TASKS[task], **fields}
        return Run.create(tmp_path / name, TrainConfig.from_dict(values))

    return make


def test_labels_are_learned_and_scored_as_scikit_learn_scores(
    run_of: Callable[..., Run], train_until: TrainUntil, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of("multilabel")
    records = train_until(run, test=True)
    result, made = run.result() or {}, load_answers(run)
    assert isinstance(made, StoredLabels)
    assert made.class_names == ("red", "green", "blue")
    truth, logit = made.truth, made.logit
    chance = float(truth.mean(0).mean())  # what one answer for all images has
    assert result["test_map"] > (1 + chance) / 2
    assert result["test_map"] == pytest.approx(average_precision_score(truth, logit))
    for average in ("macro", "micro"):
        wanted = f1_score(truth, logit > 0, average=average, zero_division=0)
        assert result[f"test_{average}_f1"] == pytest.approx(wanted)
    losses = functional.binary_cross_entropy_with_logits(
        torch.tensor(logit).double(), torch.tensor(truth).double(), reduction="none"
    )
    assert result["test_loss"] == pytest.approx(losses.sum(1).mean().item(), rel=1e-5)
    best = max(record["validation_map"] for record in records[1:])
    assert result["validation_map"] == best
    assert records[-1]["train_loss"] < 0.7 * records[0]["train_loss"]
    assert "train_accuracy" not in records[-1]
    assert evaluate_run(run, World(), ("test",))["test_map"] == result["test_map"]
    capsys.readouterr()
    assert table([str(run.path.parent), "--show", "class_ap", "--format", "markdown"]) == 0
    said = capsys.readouterr().out
    assert "| test mAP % |" in " ".join(said.split())
    assert f"{100 * average_precision_score(truth[:, 2], logit[:, 2]):.2f}" in said


def test_a_number_is_learned_and_scored_in_its_unit(
    run_of: Callable[..., Run], train_until: TrainUntil, tmp_path: Path
) -> None:
    run = run_of("regression", epochs=30)
    records = train_until(run, test=True)
    result, made = run.result() or {}, load_answers(run)
    assert isinstance(made, StoredNumbers)
    data, _ = open_trial(run.config(), run)
    own = data.facts()
    constant = mean_absolute_error(made.target, np.full_like(made.target, own["target_mean"]))
    assert result["test_mae"] < 0.5 * constant
    assert result["test_mae"] == pytest.approx(mean_absolute_error(made.target, made.value))
    assert result["test_r2"] == pytest.approx(r2_score(made.target, made.value))
    assert (result["target_mean"], result["target_deviation"]) == (
        own["target_mean"], own["target_deviation"],
    )  # fmt: skip
    assert 100 <= made.target.min() < made.target.max() <= 100 + 10 * SIDE
    assert result["validation_mae"] == min(record["validation_mae"] for record in records[1:])
    # The training images there have longer bars, by which the network's numbers are not to be read.
    rows = [row for row in write_folder(tmp_path / "other", 140, seed=9) if row["length"] > 180]
    (tmp_path / "other" / "labels.csv").write_text(table_text(rows, ("image", "length")))
    elsewhere = evaluate_elsewhere(run, World(), f"folder:{tmp_path / 'other'}")
    assert elsewhere["test_mae"] < 0.6 * constant


@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_trial_ends_bit_for_bit_as_an_undisturbed_one(
    task: TaskName, run_of: Callable[..., Run], train_until: TrainUntil, numbers: Numbers
) -> None:
    changes = {"augmentation": ["horizontal_flip", "color_jitter"], "dropout": 0.2, "epochs": 3}
    undisturbed, halved = (run_of(task, name, **changes) for name in ("undisturbed", "halved"))
    train_until(undisturbed)
    train_until(halved, last_epoch=1)
    train_until(halved, attempt=2)
    assert numbers(halved) == numbers(undisturbed)
    assert halved.weights_path.read_bytes() == undisturbed.weights_path.read_bytes()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("views", [0, 2])
def test_features_of_frozen_layers_come_to_the_same(
    task: TaskName, views: int, run_of: Callable[..., Run], train_until: TrainUntil,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(feature_cache, "store_root", lambda: tmp_path / "stores")
    more = {"augmentation": ["rotation"], "cached_views": views} if views else {}
    fields = {
        "freeze": "first:1",
        "model": "cnn",
        "blocks": 2,
        "filters": [4],
        "activation": "tanh",
        "epochs": 2,
        **more,
    }
    cached = run_of(task, "cached", **fields, batch_norm=False)
    train_until(cached, test=True)
    assert len(list((tmp_path / "stores/features").glob("*.npy"))) == 2 + views
    stored = cached.result() or {}
    again = evaluate_run(cached, World(), ("test",))  # through the whole network
    name = f"test_{TASKS[task]['select'].removeprefix('validation_')}"
    assert again[name] == pytest.approx(stored[name], rel=1e-4)
    if not views:
        monkeypatch.setenv("FIELDTRIAL_FEATURES", "off")
        plain = run_of(task, "plain", **fields, batch_norm=False)
        train_until(plain, test=True)
        assert (plain.result() or {})["test_loss"] == pytest.approx(stored["test_loss"], rel=1e-4)
    assert group_of(TrainConfig.from_dict({"freeze": "all_but_head"}, cached.config())) == ""


def test_other_labels_are_other_data(train_until: TrainUntil, tmp_path: Path) -> None:
    rows = write_folder(tmp_path / "data", 40)
    parts = [{**row, "part": "train" if n % 4 else "test"} for n, row in enumerate(rows)]
    table, columns = tmp_path / "data" / "labels.csv", ("image", "part", "red", "green", "blue")
    table.write_text(table_text(parts, columns))
    values = {"dataset": f"folder:{tmp_path / 'data'}", **SMALL, **TASKS["multilabel"]}
    run = Run.create(tmp_path / "run", TrainConfig.from_dict({**values, "epochs": 1}))
    train_until(run, test=True)
    parts[3]["red"] = 1 - parts[3]["red"]
    table.write_text(table_text(parts, columns))
    data_module._load.cache_clear()  # as a new process would start
    data_module._open.cache_clear()
    with pytest.raises(ConfigError, match=r"1 image with other labels \(.*003.png\)"):
        evaluate_run(run, World())


@pytest.mark.parametrize("task", TASKS)
def test_what_needs_classes_is_refused_and_a_smoke_is_made(
    task: TaskName, run_of: Callable[..., Run], train_until: TrainUntil, tmp_path: Path
) -> None:
    run = run_of(task, epochs=1)
    train_until(run, test=True)
    with pytest.raises(ValueError, match="explaining it needs probabilities of classes"):
        open_subject(run, World())
    with pytest.raises(ConfigError, match="a support vector machine needs probabilities"):
        run_of(task, "svm", classifier="svm")
    base = TrainConfig.from_dict({**TASKS[task], "dataset": "folder:nowhere", "model": "mlp"})
    sweep = smoke(Sweep(base=base, rows=[{"lr": 0.1}], select=base.select, trials=1, seeds=1))  # type: ignore[arg-type]
    config = sweep.planned[0].config
    assert config.dataset == "shapes"
    assert check(Attempt(Run(tmp_path / config.id), config))["problems"] == []


def test_the_losses_are_what_their_names_say() -> None:
    logits, targets = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    assert cross_entropy(logits, targets).item() == pytest.approx(np.log(2) + np.log(1 + np.e**2))
    assert squared_error(torch.tensor([[3.0]]), torch.tensor([[1.0]])).tolist() == [4.0]
