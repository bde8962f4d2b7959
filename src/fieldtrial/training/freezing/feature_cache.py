"""What frozen layers make of the images: computed once on a machine, and shared by epochs and
trials.
"""

import contextlib
import hashlib
import logging
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.image_store import store_root
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.freeze_point import FreezePoint, find_freeze_point, named_tensors
from fieldtrial.training.models.network import Network

FORMAT = 1  # to be raised when the same key would stand for other numbers
MOST_BYTES = 4 * 2**30  # of one data set's features: larger ones are computed in each epoch
MOST_BYTES_TOGETHER = (
    4 * MOST_BYTES
)  # of all on a machine: those that have been unused for longest are removed
FROZEN, PENULTIMATE = (
    "features",
    "penultimate",
)  # folders in the store root: of these, and of `features.features`
MOST_SECONDS = (
    1500.0  # of computing them: a sweep takes a trial that says nothing for half an hour to hang
)
ESTIMATE_SECONDS = 30.0  # after which it is clear how long all will take
IMAGES = 64  # that are computed at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FeatureData(Data):
    """Data with float32 features (n, ...) in the place of `images`: those of the train and
    validation images alone.

    The test set is empty. Network takes the features as it takes images.
    """

    side: int

    @property
    def image_size(self) -> int:
        """Side of the images that the features are of, in pixels."""
        return self.side


def with_features(network: Network, data: Data, config: TrainConfig, world: World) -> Data:
    """Return `data` with what the frozen layers of `network` make of its images in their place, or
    `data` itself.

    The latter where nothing is frozen or all images look different in each epoch, where the model
    cannot be cut (see `find_freeze_point`), and where the features would take more than MOST_BYTES
    or MOST_SECONDS, or do not fit onto the disk. Training on features comes to the same but for
    rounding: layers may add in another order for another number of images. `network` is on its
    device, with the weights of its frozen layers in place.
    """
    if (
        config.freeze == "none"
        or config.augmentation
        or (config.strategy == "zero3" and world.size > 1)
    ):
        # ZeRO-3 takes the weights apart, and hands them out in the order of a whole pass alone
        return data
    point = find_freeze_point(network)
    if point is None:
        return data
    chosen = np.union1d(data.train, data.validation)
    sample = _features(network, point, data, chosen[:1], world)
    shape = (len(chosen), *sample.shape[1:])
    path = store_root() / FROZEN / f"{_key(network, point, data, chosen, sample.dtype, world)}.npy"
    if math.prod(shape) * 4 > MOST_BYTES:
        return data
    features = _open(path)
    if features is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(
                f"{path}.lock"
            ):  # other processes of this trial, and other trials, wait for what they need
                features = _open(path)
                if features is None:
                    _build(network, point, data, chosen, shape, path, world)
                    features = np.asarray(np.load(path, mmap_mode="r"))
        except OSError as error:
            log.warning(
                "what the frozen layers make of the images is computed in each epoch: %s", error
            )
            return data
    network.tail, network.feature_dtype = point.tail.run, sample.dtype
    return FeatureData(
        images=features,
        labels=data.labels[chosen],
        class_names=data.class_names,
        train=np.searchsorted(chosen, data.train),
        validation=np.searchsorted(chosen, data.validation),
        test=data.test[:0],
        mean=data.mean,
        std=data.std,
        store=data.store,
        side=data.image_size,
    )


def _open(path: Path) -> NDArray[Any] | None:
    """Return the features in `path`, mapped, and note that they were used; None if they cannot be
    had.
    """
    try:
        features: NDArray[Any] = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError, EOFError):
        return None
    with contextlib.suppress(OSError):  # in a folder that is shared, they may be another user's
        os.utime(path)
    return features


def _build(
    network: Network,
    point: FreezePoint,
    data: Data,
    chosen: Indices,
    shape: tuple[int, ...],
    path: Path,
    world: World,
) -> None:
    """Write the features of the images `chosen`, of `shape` altogether, to `path`; the caller holds
    the lock.
    """
    log.info("computing what the frozen layers make of %d images: %s", len(chosen), path)
    make_room(math.prod(shape) * 4)
    aside = path.with_suffix(".building")
    try:
        with aside.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            os.posix_fallocate(
                file.fileno(), 0, file.tell() + math.prod(shape) * 4
            )  # room now, or OSError
        features = np.load(aside, mmap_mode="r+")
        started = time.monotonic()
        with progress("computing features", 0, len(chosen), "images") as advance:
            for start in range(0, len(chosen), IMAGES):
                part = _features(network, point, data, chosen[start : start + IMAGES], world)
                features[start : start + len(part)] = part.float().cpu().numpy()
                advance(len(part))
                _require_time(time.monotonic() - started, (start + len(part)) / len(chosen))
        features.flush()
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def _require_time(seconds: float, share: float) -> None:
    """Raise OSError if all will take too long, by the `seconds` that a `share` of it took."""
    if seconds > ESTIMATE_SECONDS and seconds / share > MOST_SECONDS:
        raise OSError(f"to compute all of it once would take {seconds / share / 60:.0f} minutes")


def make_room(size: int) -> None:
    """Remove features that have been unused for longest, until there are `size` bytes left of
    MOST_BYTES_TOGETHER.

    Those of frozen layers and those that last layers get count together. Who has some open keeps
    them. What processes that were killed had begun goes too.
    """
    folders = [store_root() / name for name in (FROZEN, PENULTIMATE)]
    for begun in folders[0].glob("*.building"):
        with contextlib.suppress(OSError), FileLock(begun.with_suffix(".npy.lock"), timeout=0):
            begun.unlink(missing_ok=True)
    files = []
    for file in (file for folder in folders for file in folder.glob("*.npy")):
        with contextlib.suppress(FileNotFoundError):  # another process makes room as well
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    files.sort()
    together = size + sum(taken for _, taken, _ in files)
    for _, taken, file in files:
        if together <= MOST_BYTES_TOGETHER:
            return
        with contextlib.suppress(
            PermissionError
        ):  # in a folder that is shared, it may be another user's
            file.unlink(missing_ok=True)
            together -= taken


def _features(
    network: Network, point: FreezePoint, data: Data, chosen: Indices, world: World
) -> torch.Tensor:
    """Return the features of the images `chosen`, on the device."""
    network.eval()
    with torch.no_grad():
        features: torch.Tensor = network.compute(
            point.prefix.run,
            network.normalise(torch.from_numpy(np.asarray(data.images[chosen])).to(world.device)),
        )
    return features


def _key(
    network: Network,
    point: FreezePoint,
    data: Data,
    chosen: Indices,
    dtype: torch.dtype,
    world: World,
) -> str:
    """Return a name for the features: of the data, of which images, and of all that they are
    computed with.
    """
    facts = (
        FORMAT,
        data.store,
        point.computation,
        network.precision,
        dtype,
        world.device.type,
        torch.__version__,
    )
    key = hashlib.blake2b("\n".join(map(str, facts)).encode(), digest_size=8)
    every = named_tensors(network)
    tensors = {
        "mean": network.mean,
        "std": network.std,
        **{name: every[name] for name in point.tensors},
    }
    for name, tensor in tensors.items():
        key.update(f"{name} {tuple(tensor.shape)}".encode())
        key.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    key.update(chosen.tobytes())
    return key.hexdigest()
