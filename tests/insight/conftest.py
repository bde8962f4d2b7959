"""Trained runs to look into, made once."""

from collections.abc import Callable

import pytest
import torch

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.insight.subject import Subject, open_subject
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt

SMALL = {
    "classes": "4",
    "epochs": 2,
    "filters": (8,),
    "blocks": 2,
    "dense_width": (16,),
    "batch_size": 32,
    "lr": 0.01,
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a run of a small network on four classes of digits; equal ones are trained once."""
    made: dict[str, Run] = {}

    def make(test: bool = True, **fields: object) -> Run:
        config = TrainConfig.from_dict({**SMALL, **fields})
        key = f"{config.id}-{test}"
        if key not in made:
            torch.set_num_threads(1)
            made[key] = Run.create(tmp_path_factory.mktemp(key), config)
            for _ in train(Attempt.at(made[key], test=test)):
                pass
        return made[key]

    return make


@pytest.fixture(scope="session")
def subject(trained: Callable[..., Run]) -> Subject:
    return open_subject(trained(), World())
