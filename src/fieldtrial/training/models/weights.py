"""Initial weights from files: where they lie, reading them without running any code, and putting
them in place.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.run import Run
from fieldtrial.rules import RUN_PREFIX

SHOWN = 3
# In torchvision's files of Inception and GoogLeNet; a network here may do without.
AUXILIARY = ("model.AuxLogits.", "model.aux1.", "model.aux2.")
AUXILIARY_HEAD = "model.AuxLogits.fc."
# torchvision's DenseNet files spell "norm.1" what its models spell "norm1".
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def source_run(config: TrainConfig, run_folder: Path | None) -> Run | None:
    """Return the run that the initial weights come from, or None where they come from elsewhere.

    `run:NAME` is the directory beside `run_folder`; a directory is taken as it stands.

    Raises:
        ValueError: there is no such run.
    """
    if config.weights.startswith(RUN_PREFIX):
        if run_folder is None:
            raise ValueError(
                f"weights = {config.weights!r}: stands for a run beside this one, and this one has"
                " no folder"
            )
        path = run_folder.resolve().parent / config.weights.removeprefix(RUN_PREFIX)
    elif config.weights in ("random", "imagenet") or not Path(config.weights).expanduser().is_dir():
        return None
    else:
        path = Path(config.weights).expanduser()
    if run_folder is not None and path.resolve() == run_folder.resolve():
        raise ValueError(f"weights = {config.weights!r}: is this run itself")
    run = Run(path)
    try:
        run.config()
    except FileNotFoundError as error:
        raise ValueError(f"weights = {config.weights!r}: {error}") from None
    return run


def weights_file(config: TrainConfig, run_folder: Path | None) -> Path | None:
    """Return the file with the initial weights, or None where they are drawn or a library's.

    Raises:
        ValueError: there is no such file or run, or the run has not ended well.
    """
    if config.weights in ("random", "imagenet"):
        return None
    run = source_run(config, run_folder)
    path = run.weights_path if run else Path(config.weights).expanduser()
    if not path.is_file():
        reason = (
            "the run has not ended well"
            if run
            else "write random, imagenet, run:NAME or such a path"
        )
        raise ValueError(
            f"weights = {config.weights!r}: no file or run directory at {path}; {reason}"
        )
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a safetensors or PyTorch file by name; no code in it is run.

    Tensors under "state_dict" or "model" are found, and the "module." of data-parallel training is
    taken off.

    Raises:
        ValueError: the file cannot be read as tensors and plain data alone.
    """
    try:
        loaded: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except OSError:
        raise
    except Exception as error:  # nearly everything is raised where a file is damaged
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{path}: cannot be read as tensors and plain data, and a file with code in it is"
            f" refused ({reason}); it must be a state dict saved with safetensors or torch.save"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if (
        not isinstance(loaded, Mapping)
        or not loaded
        or not all(isinstance(v, Tensor) for v in loaded.values())
    ):
        raise ValueError(
            f"{path}: holds no state dict; it must be one, or have one under 'state_dict' or"
            " 'model'"
        )
    prefix = "module." if all(name.startswith("module.") for name in loaded) else ""
    return {
        DENSENET.sub(r"\1\2", name.removeprefix(prefix)): tensor for name, tensor in loaded.items()
    }


def is_network(state: Mapping[str, Tensor]) -> bool:
    """Return whether `state` is that of a whole Network, its normalisation included, and not of a
    bare model.
    """
    return {"mean", "std"} <= state.keys()


def is_bare(path: Path) -> bool:
    """Return whether the file holds a bare model's weights, without a normalisation. Raises as
    `read_state` does.
    """
    return not is_network(read_state(path))


def load_state(network: nn.Module, head: str, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy `state`, a Network's or a bare model's, into `network`; all of it but the last layer,
    named `head`.

    An auxiliary classifier is taken as far as both have one, but for its own last layer.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the message names the first
        few and `path`.
    """
    if not is_network(state):
        state = {f"model.{name}": tensor for name, tensor in state.items()}
    fresh = (f"{head}.", AUXILIARY_HEAD)
    own = {
        name: tensor for name, tensor in network.state_dict().items() if not name.startswith(fresh)
    }
    # Files from before PyTorch 0.4.1 have no such count, and no batch normalisation with a momentum
    # reads it.
    needed = {
        name
        for name in own
        if not name.endswith(".num_batches_tracked") and not name.startswith(AUXILIARY)
    }
    needed -= set() if is_network(state) else {"mean", "std"}
    given = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(fresh) and (name in own or not name.startswith(AUXILIARY))
    }
    problems = [
        *_listed("missing", needed - given.keys()),
        *_listed("left over", given.keys() - own.keys()),
        *_listed(
            "of another shape",
            {
                f"{name} {tuple(given[name].shape)}, here {tuple(own[name].shape)}"
                for name in given.keys() & own.keys()
                if given[name].shape != own[name].shape
            },
        ),
    ]
    if problems:
        raise ValueError(
            f"{path}: not the weights of this model at this image size: {'; '.join(problems)}"
        )
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def _listed(what: str, names: Collection[str]) -> list[str]:
    """Return a phrase with the first few names, or nothing where there are none."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{what}: {', '.join(sorted(names)[:SHOWN])}{more}"] if names else []
