"""What the tests of training share: small trials on the digits, and what must be equal when one is done again."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.run import Record, Run
from fieldtrial.training.trial import train
from fieldtrial.training.world import World

Values = dict[str, Any]
MEASURED = ("seconds", "images_per_second", "data_wait", "peak_memory_mb", "attempt", "time")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Leave the machine's other cores alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Run]:
    """Make the run of a config, by default a small network's on three classes of digits, in a folder of this test."""

    def make(name: str = "run", **fields: object) -> Run:
        small = {"model": "mlp", "classes": "3", "epochs": 3, "dense_width": [16], **fields}
        return Run.create(tmp_path / name, TrainConfig.from_dict(small))

    return make


@pytest.fixture
def train_until() -> Callable[..., list[Record]]:
    """Train in this process, to the end or until an epoch's record is there, and return the records."""

    def train_run(run: Run, attempt: int = 1, last_epoch: int | None = None, test: bool = False) -> list[Record]:
        records = []
        with contextlib.closing(train(run, World(), attempt, test)) as epochs:
            for record in epochs:
                records.append(record)
                if record["epoch"] == last_epoch:
                    break
        return records

    return train_run


@pytest.fixture
def numbers() -> Callable[[Run], list[Values]]:
    """Return a run's records without what is measured."""

    def without_measurements(run: Run) -> list[Values]:
        return [{name: value for name, value in r.items() if name not in MEASURED} for r in run.records()]

    return without_measurements
