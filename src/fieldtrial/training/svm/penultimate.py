"""Penultimate features, the input of a network's last layer: computed once and kept on disk."""

import contextlib
import hashlib
import logging
import os
import time
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from fieldtrial.config import FIELDS
from fieldtrial.training.data.image_store import store_root
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.freezing.feature_cache import PENULTIMATE, make_room
from fieldtrial.training.freezing.feature_cost import read_cost, write_cost
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.inference import infer
from fieldtrial.training.models.hooks import HeadInput
from fieldtrial.training.models.network import Network

FORMAT = 2  # raise it when the same key would stand for other numbers
NOT_OF_FEATURES = ("weights", "freeze", "classifier", "svm_kernel", "svm_scaling", "svm_penalty")

log = logging.getLogger(__name__)


def features(
    network: Network, data: Data, indices: Indices, attempt: Attempt
) -> NDArray[np.float32] | None:
    """Return the features of the images `indices`, float32 (n, width), to rank 0; None to others.

    They are the last layer's input in evaluation mode, without augmentation. Where that layer is a
    convolution over a map, or gets several tokens, they are the mean over the places.

    They are kept under $FIELDTRIAL_CACHE for the next trial with the same model, weights (except
    the last layer's), images and precision. They share the limit of the feature cache of frozen
    layers; see `make_room`. `network` is on its device.

    Raises:
        ValueError: the file of kept features is damaged; the message has the path.
        OSError: no room, or no right to write.
    """
    world, began = attempt.world, time.monotonic()
    path = store_root() / PENULTIMATE / f"{_key(network, data, indices, attempt)}.npy"
    if world.is_rank_0:
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock") if world.is_rank_0 else contextlib.nullcontext():
        kept = _read(path) if world.is_rank_0 else None
        were_there = not world.broadcast(kept is None)
        if not were_there:
            log.info("computing the features of %d images: %s", len(indices), path)
            kept = _compute(network, data, indices, attempt)
            if world.is_rank_0:
                make_room(kept.nbytes)
                aside = path.with_suffix(".building")
                try:
                    with aside.open("wb") as file:
                        np.save(file, kept)
                    aside.rename(path)
                    write_cost(path, time.monotonic() - began)
                finally:
                    aside.unlink(missing_ok=True)
    attempt.clock.add_features(began, read_cost(path), were_there)
    return kept if world.is_rank_0 else None


def _read(path: Path) -> NDArray[np.float32] | None:
    """Return the features in `path`, and note that they were used; None without such a file."""
    try:
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: not whole features ({error}); remove the file to have them computed again"
        ) from None
    with contextlib.suppress(OSError):  # in a shared folder, the file may be another user's
        os.utime(path)
    return kept


def _compute(
    network: Network, data: Data, indices: Indices, attempt: Attempt
) -> NDArray[np.float32]:
    """Return the features, float32 (n, width), to all processes."""
    head_input = HeadInput(network)
    try:
        parts = [
            attempt.world.all_gather(head_input.take())[: batch.count].cpu()
            for batch, _ in infer(network, data, indices, attempt)
        ]
    finally:
        head_input.close()
    return torch.cat(parts).numpy()


def _key(network: Network, data: Data, indices: Indices, attempt: Attempt) -> str:
    """Return a name for the features: a hash of the images and of all they are computed with."""
    config = attempt.config
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
        attempt.world.device.type,
        torch.__version__,
        *([network.code] if network.code else []),
    )
    key = hashlib.sha256(repr(facts).encode())
    for name, tensor in network.state_dict().items():
        if not name.startswith(f"{network.head}."):
            key.update(f"{name} {tuple(tensor.shape)}".encode())
            key.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    key.update(indices.tobytes())
    return f"{config.model.replace(':', '-')}-{key.hexdigest()[:16]}"
