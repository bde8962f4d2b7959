"""The files that a trial's network came from, by their content."""

import functools
from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.disk.reading import sha256
from fieldtrial.disk.schemas import KnownFile, WeightsFile
from fieldtrial.fields.rules import is_library
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.source import ModelSource


def origin(config: TrainConfig, network: Network) -> WeightsFile | None:
    """Return the file that the weights of `network` came from; None where they were drawn.

    `tag` is the library's name of the weights, with the library; None where they are a file's.
    """
    file = network.weights_file
    if file is None:
        return None
    source = ModelSource.of(config)
    known = is_library(config.weights)
    tag = source.library.origin(source.name).weights if known else None
    return WeightsFile(**_known(file), tag=tag)


def description(network: Network) -> KnownFile | None:
    """Return the file that describes `network`; None where a library has the model."""
    return _known(network.model_file) if network.model_file else None


def _known(file: Path) -> KnownFile:
    stat = file.stat()
    return KnownFile(file=str(file), sha256=_sha256(file, stat.st_size, stat.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    return sha256(file)
