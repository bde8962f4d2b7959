"""The file that initial weights came from, by its content."""

import functools
from pathlib import Path

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import WeightsFile
from fieldtrial.fields.rules import is_library
from fieldtrial.training.models.network import Network
from fieldtrial.training.models.published import sha256
from fieldtrial.training.models.source import ModelSource


def origin(config: TrainConfig, network: Network) -> WeightsFile | None:
    """Return the file that the weights of `network` came from; None where they were drawn.

    `tag` is the library's name of the weights, with the library; None where they are a file's.
    """
    file = network.weights_file
    if file is None:
        return None
    stat = file.stat()
    digest = _sha256(file, stat.st_size, stat.st_mtime_ns)
    source = ModelSource.of(config)
    known = is_library(config.weights)
    tag = source.library.origin(source.name).weights if known else None
    return WeightsFile(file=str(file), sha256=digest, tag=tag)


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    return sha256(file)
