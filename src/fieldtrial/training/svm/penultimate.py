"""What the last layer of a network gets: penultimate features, computed once on a machine and kept
on its disk.
"""

import contextlib
import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from fieldtrial.config import FIELDS, TrainConfig
from fieldtrial.disk.files import atomic_file
from fieldtrial.training.data.image_store import store_root
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cache import PENULTIMATE, make_room
from fieldtrial.training.loop.epoch import forward
from fieldtrial.training.models.hooks import HeadInput
from fieldtrial.training.models.network import Network

FORMAT = 2  # to be raised when the same key would stand for other numbers
NOT_OF_FEATURES = ("weights", "freeze", "classifier", "svm_kernel", "svm_scaling", "svm_penalty")

log = logging.getLogger(__name__)


def features(
    network: Network,
    data: Data,
    indices: Indices,
    config: TrainConfig,
    world: World,
    accumulate: int = 1,
) -> NDArray[np.float32] | None:
    """Return the features of the images `indices`, float32 (n, width), to the first process; None
    to the others.

    They are what the network's last layer gets in evaluation mode, of images without augmentation;
    the mean over the places where that layer is a convolution over a map, or gets several tokens.
    They are kept under $FIELDTRIAL_CACHE for the next trial with the same model, weights (the last
    layer's aside), images and precision, and share the room there with the features of frozen
    layers (see `make_room`). `network` is on its device; batches are cut into `accumulate` pieces,
    for less memory.

    Raises:
        ValueError: what is kept there is damaged; the message has the path.
        OSError: no room, or no right to write.
    """
    path = store_root() / PENULTIMATE / f"{_key(network, data, indices, config, world)}.npy"
    if world.is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock") if world.is_main else contextlib.nullcontext():
        kept = _read(path) if world.is_main else None
        if world.broadcast(kept is None):
            log.info("computing the features of %d images: %s", len(indices), path)
            kept = _compute(network, data, indices, config.batch_size, world, accumulate)
            if world.is_main:
                make_room(kept.nbytes)
                with atomic_file(path) as file:
                    np.save(file, kept)
    return kept if world.is_main else None


def _read(path: Path) -> NDArray[np.float32] | None:
    """Return the features in `path`, and note that they were used; None if they are not there."""
    try:
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: not whole features ({error}); remove the file, and they are computed anew"
        ) from None
    with contextlib.suppress(OSError):  # in a folder that is shared, they may be another user's
        os.utime(path)
    return kept


def _compute(
    network: Network, data: Data, indices: Indices, batch_size: int, world: World, accumulate: int
) -> NDArray[np.float32]:
    """Return the features, float32 (n, width), to all processes."""
    head_input = HeadInput(network)
    try:
        parts = [
            world.gather(head_input.take())[: batch.count].cpu()
            for batch, _ in forward(network, data, indices, batch_size, world, accumulate)
        ]
    finally:
        head_input.close()
    return torch.cat(parts).numpy()


def _key(network: Network, data: Data, indices: Indices, config: TrainConfig, world: World) -> str:
    """Return a name for the features: of the images, and of all that they are computed with."""
    model = {
        name: getattr(config, name)
        for name, item in FIELDS.items()
        if item.metadata["group"] == "model" and name not in NOT_OF_FEATURES
    }
    facts = (
        FORMAT,
        data.store,
        data.image_size,
        model,
        network.precision,
        world.device.type,
        torch.__version__,
    )
    key = hashlib.sha256(repr(facts).encode())
    for name, tensor in network.state_dict().items():
        if not name.startswith(f"{network.head}."):
            key.update(f"{name} {tuple(tensor.shape)}".encode())
            key.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    key.update(indices.tobytes())
    return f"{config.model.replace(':', '-')}-{key.hexdigest()[:16]}"
