"""A sweep's folder as fieldtrial leaves it, written through the writers of fieldtrial.disk."""

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder

BASE = TrainConfig(epochs=3)
ROWS: list[dict[str, Any]] = [
    {"model": "cnn", "freeze": "none"},
    {"model": "cnn", "freeze": "all_but_head"},
    {"model": "mlp", "freeze": "none"},
]

CLASSES = ("daisy", "rose", "</script><b>tulip")
STRANGE = "pattern:<img src=x onerror=window.stranger=1>"


class Written:
    """Writes a sweep: `ended`, `failed`, `running` and `waiting` each add a trial and return its
    run.
    """

    def __init__(self, path: Path) -> None:
        self.folder = SweepFolder(path)
        self.rows = ROWS  # that the trials are of

    def describe(self, **changes: object) -> SweepFolder:
        described = {
            "name": self.folder.name,
            "base": BASE.to_dict(),
            "rows": ROWS,
            "search": {"lr": "loguniform(1e-4, 1e-1)"},
            "trials": 2,
            "seeds": 3,
            "select": "validation_accuracy",
        } | changes
        self.folder.write_description(SweepDescription.from_json(described, "the test"))
        return self.folder

    def waiting(self, row: int | None, role: str = "search", search: int = 0, **fields: Any) -> Run:
        config = TrainConfig.from_dict(
            fields, TrainConfig.from_dict({} if row is None else self.rows[row], BASE)
        )
        self.folder.list_trial(config.id, row, role, search)
        return Run.create(self.folder.path / config.id, config)

    def running(
        self,
        row: int | None,
        role: str = "search",
        epochs: int = 1,
        attempt: int = 1,
        **fields: Any,
    ) -> Run:
        run = self.waiting(row, role, **fields)
        self.record(run, epochs, attempt)
        return run

    def failed(
        self,
        row: int | None,
        role: str = "search",
        kind: str = "diverged",
        message: str = "",
        **fields: Any,
    ) -> Run:
        run = self.running(row, role, epochs=2, **fields)
        run.write_error(kind, message or "the loss is nan at step 12", attempt=1)
        return run

    def ended(
        self,
        row: int | None,
        role: str = "search",
        validation: float = 0.5,
        test: float | None = None,
        result: Mapping[str, object] | None = None,
        **fields: Any,
    ) -> Run:
        """A trial that ended well. A search trial's test accuracy is a trap."""
        run = self.running(row, role, epochs=3, **fields)
        known: dict[str, object] = {
            "outcome": "finished",
            "reason": "epochs",
            "epochs": 3,
            "best_epoch": 2,
            "validation_accuracy": validation,
            "validation_loss": 1 - validation,
            "parameters": 1_985_770,
            "trainable_parameters": 2_570,
            "flops": 1000,
            "classes": 5,
            "minutes": 1.5,
            "attempt": 1,
        }
        tested = {} if test is None else {"test_accuracy": test, "test_loss": 2 - test}
        run.write_result(known | tested | dict(result or {}))
        return run

    def record(self, run: Run, epochs: int, attempt: int = 1) -> None:
        with run.recorder(attempt) as writer:
            for epoch in range(epochs + 1):
                entries = {"epoch": epoch, "best_epoch": epoch, "seconds": 6.0}
                writer.write(entries | {"validation_accuracy": 0.1 * epoch})

    def trial(self, row: int, **fields: Any) -> str:
        """The id of a trial."""
        return replace(TrainConfig.from_dict(self.rows[row], BASE), **fields).id


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "runs" / "sweep")


@pytest.fixture
def complete(written: Written) -> Written:
    """Three rows of two search trials and three final runs; test is far from validation."""
    written.describe()
    for row, best in enumerate((0.90, 0.80, 0.70)):
        written.ended(row, validation=best - 0.05, test=0.01, lr=0.1)
        written.ended(row, validation=best, test=0.02, lr=0.01 / (row + 1))
    for row, middle in enumerate((0.60, 0.50, 0.40)):
        for seed, test in enumerate((middle - 0.02, middle, middle + 0.02)):
            minutes = {"minutes": 1.0 + seed}
            written.ended(row, "final", 0.3, test, minutes, lr=0.01 / (row + 1), seed=100 + seed)
    return written


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A sweep of every outcome, whose texts are those of somebody who means no good."""
    written = Written(tmp_path_factory.mktemp("runs") / "sweep")
    written.describe(rows=[*ROWS[:2], {"model": "mlp", "freeze": STRANGE}], trials=12)
    chance = random.Random(0)
    for row, good in enumerate((0.9, 0.7, 0.5)):
        fields: dict[str, Any] = {} if row < 2 else {"freeze": STRANGE}
        rates = [10 ** chance.uniform(-4, -1) for _ in range(12)]
        for trial, lr in enumerate(rates):
            stopped = {"outcome": "stopped"} if trial % 4 == 3 else {}
            written.ended(row, validation=good - lr, result=stopped, **fields, lr=lr)
        best = min(lr for trial, lr in enumerate(rates) if trial % 4 != 3)
        for seed in range(3):
            names = {"class_names": list(CLASSES)}
            run = written.ended(
                row, "final", good, good - 0.01 * seed, names, **fields, lr=best, seed=seed + 1
            )
            run.write_command(f"fieldtrial train --run {run.path}")
            write_predictions(run, good, seed)
    written.failed(0, message=f"the loss is nan at step 12 {STRANGE}", lr=0.2)
    written.running(1, lr=0.3)
    written.waiting(2, freeze=STRANGE, lr=0.4)
    return written.folder


def write_predictions(run: Run, accuracy: float, seed: int) -> None:
    """Write test predictions, right for about a share of the images."""
    chance = np.random.default_rng(seed)
    label = np.arange(60) % len(CLASSES)
    guess = np.where(chance.random(60) < accuracy, label, (label + 1) % len(CLASSES))
    probability = np.full((60, len(CLASSES)), 0.1, np.float32)
    probability[np.arange(60), guess] = 1 - 0.1 * (len(CLASSES) - 1)
    np.savez(
        run.predictions_path("test"),
        index=np.arange(60),
        label=label,
        log_probability=np.log(probability),
    )
