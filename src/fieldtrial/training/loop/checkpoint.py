"""Checkpoints: tensors and plain data, one format for every strategy and number of processes.

A checkpoint is {"config", "model": the state that training changes, "frozen": a digest of the rest,
"optimizer": {parameter: {key: tensor}}, "loss": its state, "progress", "record", "facts",
"inputs"}. Where the weights are averaged, "model" is the average, and "unaveraged" what training
goes on with. The frozen part is built again as it was; where that may come out otherwise, it is
kept once, beside the checkpoints. Those of ZeRO and of earlier versions have the whole model, and
no digest. A checkpoint is read with `weights_only=True`: opening a stranger's runs no code.
"""

import contextlib
import errno
import logging
import pickle
from typing import Any

import torch

from fieldtrial.config import EARLIER, ConfigError, TrainConfig
from fieldtrial.disk.files import atomic_file, is_there
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import check, open_file
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Checkpoint
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.trained_state import (
    frozen_digest,
    frozen_state,
    load_trained,
)
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.weights import read_state, write_state

# What torch.load raises for files that are truncated, damaged, or hold other things than tensors
# and plain data.
UNREADABLE = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError)

log = logging.getLogger(__name__)


def save(run: Run, state: dict[str, Any], epoch: int, best_epoch: int) -> None:
    """Write `state` as the checkpoint after `epoch`, atomically; remove those no longer needed."""
    with atomic_file(run.checkpoint_path(epoch)) as file:
        torch.save(state, file)
    run.keep_checkpoints(best_epoch)


def keep_frozen(run: Run, network: Network) -> None:
    """Write the frozen part beside the checkpoints, once.

    For a trial that may not be able to build it again; see `can_be_built_again`.
    """
    if (frozen := frozen_state(network)) and not is_there(run.frozen_path):
        write_state(run.frozen_path, frozen)


def restore(run: Run, config: TrainConfig, network: Network, saved: dict[str, Any]) -> None:
    """Copy a checkpoint's weights into `network`, which is built as the trial's was.

    Raises:
        ConfigError: its frozen part is not the one that the trial began with, nor is that kept.
        ValueError: its weights are of another network, or the file of its frozen part is damaged.
    """
    try:
        _restore(run, config, network, saved)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{run.path}: a checkpoint of another network: {reason}") from error


def _restore(run: Run, config: TrainConfig, network: Network, saved: dict[str, Any]) -> None:
    if "frozen" not in saved:
        network.load_state_dict(saved["model"])
        return
    if saved["frozen"] != frozen_digest(network) and is_there(run.frozen_path):
        with open_file(run.frozen_path):  # says so if it is no regular file
            frozen = read_state(run.frozen_path)
        network.load_state_dict(frozen, strict=False)
    if saved["frozen"] != frozen_digest(network):
        raise ConfigError(
            [
                f"freeze = {config.freeze!r}: the frozen layers come out with other weights than"
                " the run began with; use the versions of the libraries that env.json names, or"
                " start a new run in another directory"
            ]
        )
    load_trained(network, saved["model"])


def goes_on_with(run: Run, network: Network) -> bool:
    """Return whether all checkpoints of a run, if it has any, are of the network's frozen part.

    Damaged ones do not count: none goes on from them.
    """
    states = []
    for path in run.checkpoints():
        with contextlib.suppress(ValueError):
            states.append(read(path))
    return not states or {one.get("frozen") for one in states} == {frozen_digest(network)}


def load(run: Run, config: TrainConfig, world: World) -> tuple[dict[str, Any] | None, str | None]:
    """Return, to all processes, the newest undamaged checkpoint, on the CPU; None without one.

    A damaged checkpoint is removed, with a warning, and the one before is used. The second result
    is then a notice that says so.

    Raises:
        ConfigError: the checkpoint has another config; the message names the fields that differ.
    """
    newest, damaged = _newest(run, config) if world.is_rank_0 else (None, [])
    name, damaged = world.broadcast(newest.name if newest else None), world.broadcast(damaged)
    state = None if name is None else read(run.checkpoint_path(0).with_name(name))
    if not damaged:
        return state, None
    went_on = (
        "started over" if state is None else f"went on from epoch {state['progress']['epoch']}"
    )
    return state, f"checkpoint {', '.join(damaged)} was damaged, {went_on}"


def read(path: Inside) -> dict[str, Any]:
    """Return the checkpoint in a file, its tensors on the CPU and read when first used.

    Raises:
        ValueError: the file is truncated, damaged, or holds other things than tensors and plain
            data.
    """
    try:
        with open_file(path):  # says so if it is no regular file, which torch would wait for
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state: dict[str, Any] = loaded | {"progress": check(loaded, Checkpoint, path)["progress"]}
        return state
    except (*UNREADABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            # A failing disk says nothing about the file. EINVAL is torch's word for a short file.
            raise
        raise ValueError(f"{path}: not a whole checkpoint: {str(error).splitlines()[0]}") from None


def _newest(run: Run, config: TrainConfig) -> tuple[Inside | None, list[str]]:
    """Return the newest undamaged checkpoint with an undamaged best epoch; the others' names."""
    damaged = []
    for path in run.checkpoints():
        try:
            state = read(path)
            read(run.checkpoint_path(state["progress"]["best_epoch"]))
        except (ValueError, KeyError, FileNotFoundError) as error:
            log.warning(
                "%s is not used but removed, an earlier one takes its place: %s", path, error
            )
            path.unlink(missing_ok=True)
            damaged.append(path.name)
        else:
            own = TrainConfig.from_dict(state["config"], EARLIER, str(path))
            own.require(config, where=f"{path} is a checkpoint of another config")
            return path, damaged
    return None, damaged
