"""Nine support vector machines on one model's features: three kernels with three scalings."""

import itertools
from dataclasses import replace
from typing import get_args

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import BY_POSITION
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.choices import Kernel, Scaling
from fieldtrial.training.attempt.train import train
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.attempt import Attempt

ROWS = tuple(
    {"svm_kernel": kernel, "svm_scaling": scaling}
    for kernel, scaling in itertools.product(get_args(Kernel), get_args(Scaling))
)


def fit_grid(base: TrainConfig, folder: SweepFolder, world: World) -> None:
    """Fit and test the machines on the features of `base`, each as a run in `folder`, a sweep's.

    Machines that the folder has are left alone. Nothing is searched or selected: each row of the
    sweep's table is one machine, scored on test. Rank 0 prints a line for each fitted machine.

    Raises:
        ConfigError: the folder holds other runs.
        what `train` does.
    """
    base = replace(base, classifier="svm", epochs=1)
    known = world.broadcast(folder.description() if world.is_rank_0 else None)
    base = base.as_begun(known.base) if known and known.cut == BY_POSITION else base
    if known is not None and (known.rows != ROWS or known.base != base):
        raise ConfigError(
            [f"{folder.path} holds another sweep: give another folder, or the same flags"]
        )
    if world.is_rank_0 and not known:
        folder.write_description(
            SweepDescription(
                name=folder.name,
                base=base,
                rows=ROWS,
                search={},
                trials=1,
                seeds=1,
                select="validation_accuracy" if base.select == "last" else base.select,
            )
        )
    for row_number, row in enumerate(ROWS):
        config = TrainConfig.from_dict(row, base)
        run = folder.run(config.id)
        if world.is_rank_0:
            Run.create(run.folder, config)
            for role in ("search", "winner", "final"):
                folder.list_trial(config.id, row_number, role)
        number = world.broadcast(run.newest_attempt + 1)
        if not world.broadcast(run.result()):
            for record in train(Attempt(run, config, world, number, test=True)):
                if world.is_rank_0:
                    print(
                        f"{config.svm_kernel} kernel, scaling {config.svm_scaling}: validation"
                        f" accuracy {100 * record['validation_accuracy']:.4g} %,"
                        f" {record['seconds']:.1f} s",
                        flush=True,
                    )
