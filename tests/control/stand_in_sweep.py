"""A sweep file for tests: everything is real but the worker, which sleeps, and the look at the rows before the start.

STAND_IN_WORKER is the worker's path; SPACE, if set, what is searched: planted, diverging or source.
"""

import os
import sys
from functools import partial
from typing import Any

from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control import command
from fieldtrial.control.local import LocalPlace
from fieldtrial.control.sweep import Sweep

SPACES: dict[str, dict[str, Any]] = {
    "": {"lr": tune.loguniform(1e-4, 1e-1), "weight_decay": tune.uniform(0.0, 0.1)},
    "planted": {"lr": tune.loguniform(1e-4, 1e-1), "dropout": tune.choice([0.95])},
    "diverging": {"lr": tune.choice([0.01, 100.0, 200.0, 300.0])},
}


def sweep() -> Sweep:
    """Return two rows."""
    return Sweep(
        base=TrainConfig(epochs=8, batch_size=int(os.environ.get("BATCH_SIZE", "64"))),
        rows=[{"optimizer": "sgd"}, {"optimizer": "adamw"}],
        search=SPACES[os.environ.get("SPACE", "")],
        trials=5,
        seeds=2,
    )


class NoPreflight:
    """Finds nothing wrong."""

    def __init__(self, sweep: Sweep) -> None:
        pass

    def __enter__(self) -> "NoPreflight":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def result(self) -> list[Any]:
        """Return no facts."""
        return []


if __name__ == "__main__":
    vars(command).update(Preflight=NoPreflight, LocalPlace=partial(LocalPlace, worker=(os.environ["STAND_IN_WORKER"],)))
    sys.setswitchinterval(0.001)
    command.main(sweep)
