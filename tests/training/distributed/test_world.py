"""Two processes learn what one learns, however they share the work, and go on from each other's
checkpoints.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Record, Run
from fieldtrial.own.project import PROJECT, TRUSTED
from fieldtrial.results.read.predictions import load_predictions
from fieldtrial.training.attempt.train import train
from fieldtrial.training.data.load import load
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop import checkpoint
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.scoring.evaluation import score_state
from fieldtrial.training.tasks.classification.predictions import ClassScores
from tests.training.trials_of_tasks import detected, of_images

TrainUntil = Callable[..., list[Record]]
Numbers = Callable[[Run], list[dict[str, Any]]]

SCRIPT = Path(__file__).parents[1] / "two_processes.py"
STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
# No batch-norm, no dropout. 280 images in batches of 51: no batch, nor the last, can be halved.
# Gradients are clipped. So few steps leave rounding at 1e-7, whatever the processor: AdamW blows it
# up where gradients are near 0.
PARITY: dict[str, Any] = {
    "model": "cnn",
    "blocks": 2,
    "batch_norm": False,
    "activation": "tanh",
    "filters": [16],
    "images_per_class": 28,
    "epochs": 3,
    "lr": 0.003,
    "batch_size": 51,
    "gradient_clip": 0.5,
    # Biases do not decay, although DeepSpeed keeps parameters flat, without their dimensions.
    "weight_decay": 0.1,
    "decay_all": False,
}
# With all that has a state; part of the network is frozen.
STATEFUL: dict[str, Any] = {
    "model": "cnn",
    "blocks": 2,
    "filters": [4],
    "classes": "2",
    "epochs": 3,
    "dropout": 0.2,
    "augmentation": ["rotation"],
    "freeze": "first:1",
    "schedule": "linear",
}
# What PARITY has, as a user's own code.
OWN = {"loss": "own_parity:loss", "schedule": "own_parity:flat", "optimizer": "own_parity:Adam"}
TRUST = {PROJECT: json.dumps([str(SCRIPT.parent)]), TRUSTED: ",".join(OWN.values())}
# With shares and boxes of the whole batch, and averaged statistics of batch normalisation.
MIXED: dict[str, Any] = {**STATEFUL, "ema_decay": 0.9, "mixup": 0.4, "cutmix": 1.0}
FROZEN: dict[str, Any] = {**PARITY, "freeze": "first:1"}  # and not augmented: trained on features
# What is drawn for the whole batch, or not at all; what changes what trains, or how fast.
RECIPES: dict[str, dict[str, Any]] = {
    "balanced": {"class_weights": "balanced", "sampling": "balanced", "test_flips": True},
    "averaged": {"ema_decay": 0.5, "freeze": "gradual:1", "lr": 0.01},
    "lora": {"freeze": "lora:2", "lr": 0.01},
    "decayed-zero2": {"layer_decay": 0.5, "strategy": "zero2"},
    "decayed-zero3": {"layer_decay": 0.5, "strategy": "zero3"},
}
# With 2 or 4 gradient accumulation steps.
ACCUMULATED = (
    "accumulated2-ddp",
    "accumulated4-ddp",
    "accumulated4-zero1",
    "accumulated4-zero2",
    "accumulated2-zero3",
    "accumulated4-zero3",
)
HALVED = ("ddp-adamw", "zero1-sgd", "zero2-adamw", "zero2-adagrad", "zero3-rmsprop", "zero3-nadam")
SGD = {"optimizer": "sgd", "lr": 0.1}
# Losses beside cross-entropy, for an epoch.
BESIDE = ("center-ddp", "center-zero3", "triplet-zero3")
OF_IMAGES = ("multilabel-ddp", "regression-zero3")
KEYS = ("validation_loss", "train_loss", "train_accuracy", "validation_accuracy", "lr", "step")
RELATIVE = 1e-5  # what rounding may change


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with what two processes have done; see two_processes.py."""
    folder = tmp_path_factory.mktemp("two processes")
    for strategy in STRATEGIES:
        _create(folder, f"whole-{strategy}", PARITY, strategy=strategy)
    for strategy in ("ddp", "zero2"):
        _create(folder, f"frozen-{strategy}", FROZEN, strategy=strategy)
    for name in HALVED:
        strategy, _, optimizer = name.partition("-")
        for kind in ("halved", "undisturbed"):
            _create(
                folder,
                f"{kind}-{name}",
                STATEFUL,
                strategy=strategy,
                optimizer=optimizer,
                loss="center",
            )
    for name, fields in RECIPES.items():
        _create(folder, name, PARITY | fields)
    for kind in ("halved", "undisturbed"):
        _create(folder, f"{kind}-recipe", MIXED, test_flips=True)
        _create(folder, f"{kind}-gradual", STATEFUL, freeze="gradual:1", loss="center")
    for name in BESIDE:
        loss, _, strategy = name.partition("-")
        _create(folder, name, PARITY | SGD, strategy=strategy, loss=loss, loss_weight=1.0, epochs=1)
    for name in ACCUMULATED:
        _create(folder, name, PARITY, strategy=name.partition("-")[2])
    for strategy in ("ddp", "zero3"):
        _create(folder, f"detected-{strategy}", detected(folder), strategy=strategy)
    for name in OF_IMAGES:
        task, _, strategy = name.partition("-")
        _create(folder, name, of_images(task), strategy=strategy)
    _create(folder, "whole-own", PARITY, **OWN)
    _create(folder, "half-ddp", PARITY)
    _create(folder, "half-zero3", PARITY, strategy="zero3")
    _create(
        folder, "diverging", PARITY, activation="relu", optimizer="sgd", lr=1e25, gradient_clip=None
    )
    _create(folder, "left", PARITY, batch_size=5)  # 56 batches, with a stop asked for after 50
    begun = _create(folder, "begun-zero2", PARITY, strategy="zero2")
    with contextlib.closing(train(Attempt.at(begun))) as records:
        assert next(records)["epoch"] == 0
        assert next(records)["epoch"] == 1
    launcher = ["-m", "fieldtrial.training.distributed.launcher", "--processes", "2"]
    compiled = folder / "compiled"
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), str(folder)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TORCH_EXTENSIONS_DIR": str(compiled),
            **TRUST,
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert not compiled.exists(), "DeepSpeed has compiled something"
    return folder


def _create(folder: Path, name: str, fields: dict[str, Any], **more: Any) -> Run:
    return Run.create(folder / name, TrainConfig.from_dict({**fields, **more}))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Return the records of one process, to compare with."""
    torch.set_num_threads(1)
    return list(train(Attempt.at(_create(tmp_path_factory.mktemp("one process"), "alone", PARITY))))


def assert_same_learning(records: list[Record], expected: list[Record]) -> None:
    assert expected[3]["validation_loss"] < 0.8 * expected[0]["validation_loss"]  # it has learned
    assert len(records) == 4
    for key in KEYS:
        assert [r[key] for r in records] == pytest.approx(
            [r[key] for r in expected], rel=RELATIVE
        ), key
    for key in ("gradient_norm", "update_ratio"):
        assert [r[key] for r in records[1:]] == pytest.approx(
            [r[key] for r in expected[1:]], rel=RELATIVE
        ), key


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [*(f"whole-{strategy}" for strategy in STRATEGIES), "whole-own", "begun-zero2", *ACCUMULATED],
)
def test_two_processes_learn_what_one_learns(name: str, runs: Path, alone: list[Record]) -> None:
    assert_same_learning(Run(runs / name).records(), alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", BESIDE)
def test_losses_of_features_are_those_of_all_processes(
    name: str, runs: Path, tmp_path: Path
) -> None:
    run = Run(runs / name)
    fields = run.config().to_dict()
    alone = list(train(Attempt.at(_create(tmp_path, "alone", fields))))
    plain = list(train(Attempt.at(_create(tmp_path, "plain", fields, loss="cross_entropy"))))
    assert alone[1]["train_loss"] > 1.05 * plain[1]["train_loss"]  # it counts
    for key in ("validation_loss", "train_loss", "gradient_norm", "update_ratio"):
        assert run.records()[1][key] == pytest.approx(alone[1][key], rel=RELATIVE), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["detected-ddp", "detected-zero3", *OF_IMAGES])
def test_two_processes_do_other_tasks_as_one_does(name: str, runs: Path, tmp_path: Path) -> None:
    run = Run(runs / name)
    expected = list(train(Attempt.at(_create(tmp_path, "alone", run.config().to_dict()))))
    for key in ("validation_loss", "train_loss", "gradient_norm", "update_ratio"):
        assert run.records()[-1][key] == pytest.approx(expected[-1][key], rel=RELATIVE), key
    together = np.load(str(run.predictions_path("test")))
    assert together["index"].tolist() == list(range(80, 100))


@pytest.mark.slow
def test_two_processes_leave_an_epoch_together(runs: Path) -> None:
    assert [(runs / f"left-{rank}").read_text() for rank in (0, 1)] == ["[0]", "[0]"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_two_processes_learn_from_the_features_of_frozen_layers(
    strategy: str, runs: Path, tmp_path: Path
) -> None:
    of_one = list(train(Attempt.at(_create(tmp_path, "alone", FROZEN))))
    assert_same_learning(Run(runs / f"frozen-{strategy}").records(), of_one)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_follow_a_recipe_as_one_does(name: str, runs: Path, tmp_path: Path) -> None:
    of_one = list(train(Attempt.at(_create(tmp_path, "alone", PARITY | RECIPES[name]))))
    assert_same_learning(Run(runs / name).records(), of_one)


@pytest.mark.parametrize("accumulation", [2, 4, 51])
def test_gradient_accumulation_teaches_what_a_whole_batch_teaches(
    accumulation: int, alone: list[Record], tmp_path: Path
) -> None:
    fields = {**PARITY, "augmentation": ["rotation"]}
    whole = list(train(Attempt.at(_create(tmp_path, "whole", fields))))
    assert whole[3]["validation_loss"] != alone[3]["validation_loss"]  # there is an augmentation
    run = _create(tmp_path, "accumulated", fields)
    records = list(train(Attempt.at(run, accumulation=accumulation)))
    assert (run.result() or {})["accumulate"] == accumulation
    assert_same_learning(records, whole)


@pytest.mark.parametrize("name", ["half-ddp", "half-zero3"])
def test_one_process_goes_on_from_the_checkpoint_of_two(
    name: str, runs: Path, alone: list[Record], train_until: TrainUntil
) -> None:
    run = Run(runs / name)
    assert run.result() is None
    assert [record["epoch"] for record in train_until(run, attempt=2)] == [1, 2, 3]
    assert run.records()[3]["validation_loss"] == pytest.approx(
        alone[3]["validation_loss"], rel=RELATIVE
    )


@pytest.mark.parametrize("name", [*HALVED, "recipe", "gradual"])
def test_resumed_processes_end_bit_for_bit_as_undisturbed_ones(
    name: str, runs: Path, numbers: Numbers
) -> None:
    halved, undisturbed = Run(runs / f"halved-{name}"), Run(runs / f"undisturbed-{name}")
    assert halved.attempts() == [1, 2]
    assert numbers(halved) == numbers(undisturbed)
    assert halved.weights_path.read_bytes() == undisturbed.weights_path.read_bytes()


def test_all_processes_find_together_that_the_loss_is_not_finite(runs: Path) -> None:
    messages = {(runs / f"diverged-{rank}").read_text() for rank in (0, 1)}
    assert len(messages) == 1
    assert "at step 2 (epoch 1)" in messages.pop()


@pytest.mark.parametrize("name", [*HALVED, "recipe"])
def test_each_image_is_predicted_once_and_as_by_one_process(name: str, runs: Path) -> None:
    run = Run(runs / f"undisturbed-{name}")
    data = load(run.config(), None)
    assert len(data.validation) % 2 == 1, "this test needs an image that fills the last batch up"
    state = safetensors.torch.load_file(run.weights_path)
    alone, _ = score_state(Attempt.at(run, test=True), state)
    for split, expected in alone.items():
        together = load_predictions(run, split)
        assert isinstance(expected, ClassScores)
        assert together.index.tolist() == expected.index.tolist() == getattr(data, split).tolist()
        assert together.label.tolist() == data.labels[together.index].tolist()
        assert np.exp(together.log_probability) == pytest.approx(
            np.exp(expected.log_probability), abs=1e-5
        )
        assert (run.result() or {})[f"{split}_accuracy"] == pytest.approx(
            together.summary()["accuracy"], rel=1e-12
        )


def test_processes_tell_each_other(runs: Path) -> None:
    for rank in (0, 1):
        facts = json.loads((runs / f"facts-{rank}.json").read_text())
        assert facts == {
            "gathered": [0, 1, 2, 3],
            "sum": [2.0, 1.0],
            "any": True,
            "none": False,
            "broadcast": {"rank": 0},
        }


def test_a_single_process_needs_no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    world = World.from_environment()
    assert (world.rank, world.size, world.is_rank_0) == (0, 1, True)
    assert world.sum(torch.tensor([1.5])).tolist() == [1.5]
    assert world.any(True)
    assert world.broadcast("word") == "word"


def test_more_processes_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    there = torch.cuda.device_count() or len(os.sched_getaffinity(0))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(there + 1))
    with pytest.raises(
        ValueError, match=f"{there + 1} processes on a machine with {there} (cores|GPUs)"
    ):
        World.from_environment()


def test_partitioning_on_one_process_is_the_plain_way(
    tmp_path: Path, train_until: TrainUntil, alone: list[Record]
) -> None:
    run = _create(tmp_path, "zero3", PARITY, strategy="zero3")
    train_until(run, last_epoch=1)
    assert run.records()[1]["validation_loss"] == alone[1]["validation_loss"]
    assert set(checkpoint.read(run.checkpoint_path(1))["optimizer"]["model.head.bias"]) == {
        "step",
        "exp_avg",
        "exp_avg_sq",
    }
