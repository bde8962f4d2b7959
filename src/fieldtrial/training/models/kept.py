"""Networks that this process keeps as they were built, to copy them for its next trials."""

import copy
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

import torch

from fieldtrial.config import FIELDS
from fieldtrial.fields.switches import switch
from fieldtrial.processes import data_root
from fieldtrial.training.data.load import Data
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource, build
from fieldtrial.training.parts.part import identity_of

MOST_BYTES = 2**30  # of all that are kept together; what was used last stays
GROUPS = ("model", "run")  # of fields: no network depends on those of another group

_kept: OrderedDict[Hashable, Network] = OrderedDict()


def built(source: ModelSource, data: Data) -> Network:
    """Return what `build` returns, a network of the caller's own on the CPU.

    If this process has built it before, it is a copy, unless a file that it came from has changed
    since. Raises ValueError as `build` does.
    """
    key = _key(source, data)
    own = _kept.pop(key, None)
    if own is not None and own.stamps == _stamps(own):
        _kept[key] = own  # as the last that was used
        return _copy(own)
    network = build(source, data.shape, data.mean, data.std)
    network.stamps = _stamps(network)
    if _bytes(network) > MOST_BYTES:
        return network
    try:
        _kept[key] = _copy(network)
    except Exception:  # a model's own code may raise anything when it is copied
        return network
    while sum(map(_bytes, _kept.values())) > MOST_BYTES:
        _kept.popitem(last=False)
    return network


def _copy(network: Network) -> Network:
    """Return a copy that shares what is known of the network as it was built."""
    return copy.deepcopy(network, {id(network.known): network.known})


def _key(source: ModelSource, data: Data) -> Hashable:
    """Return what decides how the network comes out, but for the content of files."""
    config = source.config
    fields = [
        getattr(config, name) for name, item in FIELDS.items() if item.metadata["group"] in GROUPS
    ]
    places = (source.file, data_root(), torch.hub.get_dir())  # where weights are looked for
    code = identity_of("model", config)
    own = (source.library, source.name, code, config.task, data.shape, data.mean, data.std)
    layout = switch("FIELDTRIAL_MEMORY_FORMAT")
    return (*own, *fields, *places, layout, torch.get_default_device())


def _stamps(network: Network) -> tuple[tuple[Path, int, int], ...]:
    """Return size and time of change of the files that the network came from."""
    files = [file for file in (network.weights_file, network.model_file) if file is not None]
    found = []
    for file in files:
        stat = file.stat() if file.exists() else None
        found.append((file, stat.st_size if stat else 0, stat.st_mtime_ns if stat else 0))
    return tuple(found)


def _bytes(network: Network) -> int:
    return sum(tensor.nbytes for tensor in network.state_dict().values())
