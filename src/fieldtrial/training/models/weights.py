"""Weights in files: reading them without running any code, and loading them into a network."""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fieldtrial.disk.files import atomic_file
from fieldtrial.disk.inside import Inside
from fieldtrial.training.data.splits import first_of
from fieldtrial.training.models.network import Network

KEPT_BYTES = 2**28  # of one file's tensors
DTYPES = {  # as safetensors calls them
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
    torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
}  # fmt: skip
SHOWN = 3  # tensors of each kind named in a message
# In torchvision's files of Inception and GoogLeNet, and timm's of VOLO; a network may lack them.
AUXILIARY = ("model.AuxLogits.", "model.aux1.", "model.aux2.", "model.aux_head.")
AUXILIARY_HEAD = "model.AuxLogits.fc."
# torchvision's DenseNet files spell "norm.1" what its models spell "norm1".
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def read_state(path: Path | Inside) -> dict[str, Tensor]:
    """Return the tensors in a safetensors or PyTorch file by name; no code in it is run.

    Tensors are also found under "state_dict" or "model". The prefix "module." of data-parallel
    training is removed.

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
        or not all(isinstance(name, str) and isinstance(v, Tensor) for name, v in loaded.items())
    ):
        raise ValueError(
            f"{path}: holds no state dict; it must be one, or have one under 'state_dict' or"
            " 'model'"
        )
    prefix = "module." if all(name.startswith("module.") for name in loaded) else ""
    return {
        DENSENET.sub(r"\1\2", name.removeprefix(prefix)): tensor for name, tensor in loaded.items()
    }


def read_state_once(path: Path) -> Mapping[str, Tensor]:
    """Return what `read_state` does, to be read only; the last file's tensors are kept.

    They are read again if the file has another size or time, or more than KEPT_BYTES.
    """
    stat = path.stat()
    if stat.st_size > KEPT_BYTES:
        return read_state(path)
    return _read_state(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read_state(path: Path, _size: int, _changed: int) -> Mapping[str, Tensor]:
    return read_state(path)


def write_state(path: Inside, state: Mapping[str, Tensor]) -> None:
    """Write the tensors as a safetensors file, atomically, from where they lie in memory.

    `safetensors.torch.save` makes the whole file in memory first, in two copies. Of small trials,
    that is the longest part.
    """
    # The largest numbers first, so that each tensor is aligned in the file.
    tensors = dict(sorted(separate(state).items(), key=lambda one: (-one[1].itemsize, one[0])))
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        about = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = about | {"data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.cpu().flatten().view(torch.uint8).numpy().data)


def require_types(state: Mapping[str, Tensor]) -> None:
    """Check that `write_state` can write the tensors, before they are trained.

    Raises:
        ValueError: it has no name for the type of some.
    """
    others = [f"{name} ({one.dtype})" for name, one in state.items() if one.dtype not in DTYPES]
    if others:
        raise ValueError(
            f"weights of these types cannot be written to a file: {first_of(others, SHOWN)}"
        )


def separate(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors with memory of their own, as safetensors wants them; copies if need be."""
    used: set[int] = set()
    own = {}
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        is_own = tensor.is_contiguous() and place not in used
        used.add(place)
        own[name] = tensor if is_own else tensor.clone(memory_format=torch.contiguous_format)
    return own


def is_network(state: Mapping[str, Tensor]) -> bool:
    """Return whether `state` is a Network's, with its normalisation, or a bare model's."""
    return {"mean", "std"} <= state.keys()


def load_state(network: Network, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy `state`, a Network's or a bare model's, into `network`, without the heads.

    An auxiliary classifier is copied where both have one, without its own last layer.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the message names the first
            few and `path`.
    """
    if not is_network(state):
        state = {f"model.{name}": tensor for name, tensor in state.items()}
    fresh = (*(f"{head}." for head in network.heads), AUXILIARY_HEAD)
    own = {
        name: tensor for name, tensor in network.state_dict().items() if not name.startswith(fresh)
    }
    needed = _needed(own) - (set() if is_network(state) else {"mean", "std"})
    given = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(fresh) and (name in own or not name.startswith(AUXILIARY))
    }
    _copy(given, own, needed, path)


def load_whole(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy `state`, a bare model's, into `model`, its last layer included.

    Raises:
        ValueError: as `load_state`; or `state` is a Network's, of a run.
    """
    if is_network(state):
        raise ValueError(
            f"{path}: the weights of a run, not of a published classifier; evaluate them with --run"
        )
    own = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    _copy(
        {
            name: tensor
            for name, tensor in ((f"model.{name}", tensor) for name, tensor in state.items())
            if name in own or not name.startswith(AUXILIARY)
        },
        own,
        _needed(own),
        path,
    )


def _needed(own: Iterable[str]) -> set[str]:
    """Return the names of the tensors that a file of weights must have."""
    # Files from before PyTorch 0.4.1 have no num_batches_tracked; batch normalisation with a
    # momentum does not read it.
    return {
        name
        for name in own
        if not name.endswith(".num_batches_tracked") and not name.startswith(AUXILIARY)
    }


def _copy(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], needed: set[str], path: Path
) -> None:
    """Copy the tensors `given` into those of the same names in `own`.

    Raises:
        ValueError: one of `needed` is missing, one is left over or of another shape.
    """
    shapes = {
        f"{name} {tuple(given[name].shape)}, here {tuple(own[name].shape)}"
        for name in given.keys() & own.keys()
        if given[name].shape != own[name].shape
    }
    differences = {
        "missing": needed - given.keys(),
        "left over": given.keys() - own.keys(),
        "of another shape": shapes,
    }
    problems = [
        f"{kind}: {first_of(sorted(names), SHOWN)}" for kind, names in differences.items() if names
    ]
    if problems:
        raise ValueError(
            f"{path}: not the weights of this model at this image size: {'; '.join(problems)}"
        )
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)
