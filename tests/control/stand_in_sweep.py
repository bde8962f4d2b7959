"""A sweep file for tests: all is real but the worker, which sleeps, and the check of the rows.

STAND_IN_WORKER is the worker's path; BATCH_SIZE, if set, makes another sweep of it. A report takes
seconds, so it is written only where REPORT is set.
"""

import os
from contextlib import nullcontext
from functools import partial
from types import ModuleType
from typing import Any

from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control import cli as command
from fieldtrial.control.driver import drive as driver
from fieldtrial.control.places import local
from fieldtrial.control.places.slurm import sbatch as slurm_jobs
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep


def sweep() -> Sweep:
    """Return two rows."""
    return Sweep(
        base=TrainConfig(epochs=8, batch_size=int(os.environ.get("BATCH_SIZE", "64"))),
        rows=[{"optimizer": "sgd"}, {"optimizer": "adamw"}],
        search={"lr": tune.loguniform(1e-4, 1e-1), "weight_decay": tune.uniform(0.0, 0.1)},
        trials=4,
        seeds=1,
    )


class NoPreflight:
    """Finds nothing wrong."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "NoPreflight":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def result(self) -> list[Any]:
        """Return no facts."""
        return []


def no_report(_folder: SweepFolder) -> nullcontext[None]:
    """Write none."""
    return nullcontext()


def put(module: ModuleType, **stand_ins: object) -> None:
    """Put stand-ins into the place of what a module has by these names, and must have."""
    assert stand_ins.keys() <= vars(module).keys(), (module, stand_ins)
    vars(module).update(stand_ins)


if __name__ == "__main__":
    worker = (os.environ["STAND_IN_WORKER"],)
    put(driver, Preflight=NoPreflight)
    put(local, LocalPlace=partial(local.LocalPlace, worker=worker))
    if not os.environ.get("REPORT"):
        put(driver, LiveReport=nullcontext, LastReport=no_report)
    put(slurm_jobs, Submitter=partial(slurm_jobs.Submitter, worker=worker))
    command.main(sweep)
