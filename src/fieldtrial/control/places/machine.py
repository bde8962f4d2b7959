"""What this machine has, and whether a trial of a local place fits on it."""

import os

from fieldtrial.config import ConfigError
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.fields.printable import counted


def require_fits(settings: LocalSettings, gpus: int | None = None) -> float:
    """Return how many GPUs a trial gets, perhaps a fraction of one.

    gpus: how many this machine has; None: they are counted where the settings depend on them.

    Raises:
        ConfigError: a trial needs more than this machine has; all problems at once.
    """
    problems, cores, wanted = [], count_cores(), settings.gpus_per_trial
    if settings.cpus_per_trial > cores:
        problems.append(
            f"cpus_per_trial = {settings.cpus_per_trial}: this machine has {counted(cores, 'core')}"
        )
    if gpus is None:
        gpus = count_gpus() if wanted or settings.processes_per_trial > 1 else 0
    wanted = float(min(1, gpus)) if wanted is None else wanted
    if wanted > gpus:
        problems.append(f"gpus_per_trial = {wanted:g}: this machine has {counted(gpus, 'GPU')}")
    elif wanted and settings.processes_per_trial > wanted:
        problems.append(
            f"processes_per_trial = {settings.processes_per_trial}: must not be more than the"
            f" trial's GPUs, gpus_per_trial = {wanted:g}"
        )
    if problems:
        raise ConfigError(problems, "local")
    return wanted


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def count_gpus() -> int:
    """Return how many GPUs Ray would find here, without starting it."""
    # Late: Ray takes a second, and most places need no count before it is started.
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    there = int(manager.get_current_node_num_accelerators())
    visible = manager.get_current_process_visible_accelerator_ids()
    return there if visible is None else min(there, len(visible))
