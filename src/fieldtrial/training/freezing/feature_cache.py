"""The feature cache: the frozen layers' output, computed once on a machine for all its trials."""

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
from fieldtrial.fields.rules import keeps_images
from fieldtrial.fields.switches import switch
from fieldtrial.training.data.image_store import store_root
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.progress_bar import progress
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cost import cost_path, read_cost, write_cost
from fieldtrial.training.freezing.freeze_point import FreezePoint, find_freeze_point
from fieldtrial.training.freezing.schemes import has_fixed_part
from fieldtrial.training.models.network import FeatureNetwork, Network

FORMAT = 3  # raised when the same key would stand for other numbers
MOST_BYTES = 4 * 2**30  # of one file: larger features are computed in each epoch
MOST_BYTES_TOGETHER = 4 * MOST_BYTES  # of the cache: the longest unused files are removed
# Folders in the store root: features at the freeze point, and the head's input (svm/penultimate).
FROZEN, PENULTIMATE = "features", "penultimate"
# Time limit for filling one file: a sweep ends a trial that writes no record for half an hour.
MOST_SECONDS = 1500.0
ESTIMATE_SECONDS = 30.0  # after which the time for the whole file is estimated
IMAGES = 64  # per forward pass

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """What features are computed from, and with.

    Attributes:
        network: the whole network, on its device, with the weights of its frozen layers.
        point: where it is cut.
        data: the images.
        sample: of the shape of one image's features (1, ...), in the type that layers behind the
            cut take.
    """

    network: Network
    point: FreezePoint
    data: Data
    world: World
    sample: torch.Tensor

    @property
    def view(self) -> str:
        """What is done to the images before: "" for nothing. It is a part of the file's name."""
        return ""

    def images(self, chosen: Indices, _block: int) -> torch.Tensor:
        """Return the images `chosen`, the block of that number, on the device."""
        return torch.from_numpy(self.data.take(chosen)).to(self.world.device)

    def expected_seconds(self, seconds: float, share: float) -> float:
        """Return what filling the cache takes, where a `share` of the file took `seconds`."""
        return seconds / share

    def kept(self, chosen: Indices, clock: DeviceClock | None) -> NDArray[Any] | None:
        """Return the features of the images `chosen`, float32 (n, ...), from the feature cache.

        It is filled now if need be. None where they would take more than MOST_BYTES or
        MOST_SECONDS, and where the disk has no room for them.

        clock: is told what the features cost, or would have cost.
        """
        began = time.monotonic()
        shape = stored_shape = (len(chosen), *self.sample.shape[1:])
        if self.is_channels_last:
            stored_shape = (shape[0], *shape[2:], shape[1])
        if math.prod(shape) * 4 > MOST_BYTES:
            return None
        path = store_root() / FROZEN / f"{_key(self, chosen)}.npy"
        features = _open(path)
        were_there = features is not None
        if features is None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{path}.lock"):  # one process fills the file, others wait for it
                    features = _open(path)
                    if features is None:
                        _build(self, chosen, stored_shape, path)
                        features = np.asarray(np.load(path, mmap_mode="r"))
            except OSError as error:
                log.warning(
                    "the features of the frozen layers are computed in each epoch: %s", error
                )
                return None
        if clock:
            clock.add_features(began, read_cost(path), were_there)
        return features.transpose(0, 3, 1, 2) if self.is_channels_last else features

    @property
    def is_channels_last(self) -> bool:
        """Whether features lie in the file as layers behind the cut take them, channels last."""
        return self.sample.ndim == 4 and self.network.memory_format is torch.channels_last


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureData(Data):
    """Data with features, float32 (n, ...), in the place of `images`.

    Those of the training and validation images, of the test images, or of all; see `for_split`.

    Attributes:
        chosen: the images' positions in the data set's store, int64 (n,).
        source: what the features were computed from.
    """

    chosen: Indices
    source: FeatureSource

    @classmethod
    def of(cls, source: FeatureSource, features: NDArray[Any], chosen: Indices) -> "FeatureData":
        """Return the data of the images `chosen`, whose features these are."""
        data = source.data
        train, validation, test = (
            np.flatnonzero(np.isin(chosen, part))
            for part in (data.train, data.validation, data.test)
        )
        return cls(
            images=features,
            labels=data.labels[chosen],
            class_names=data.class_names,
            train=train,
            validation=validation,
            test=test,
            mean=data.mean,
            std=data.std,
            store=data.store,
            digest=data.digest,
            cut=data.cut,
            remarks=data.remarks,
            chosen=chosen,
            source=source,
        )

    @property
    def image_size(self) -> int:
        """Side in pixels of the images that the features were computed from."""
        return self.whole.image_size

    @property
    def whole(self) -> Data:
        """The data with the images that the features were computed from."""
        return self.source.data

    def targets(self, chosen: Indices) -> NDArray[Any]:
        """Return what is learned of the images `chosen`."""
        return self.whole.targets(self.chosen[chosen])

    def take(self, chosen: Indices) -> NDArray[Any]:
        """Return a copy of the features of `chosen`, which lie in memory as those in the file."""
        if self.source.is_channels_last:
            stored = self.images.transpose(0, 2, 3, 1)
            return np.take(stored, chosen, 0).transpose(0, 3, 1, 2)
        return super().take(chosen)

    def positions(self, chosen: Indices) -> Indices:
        """Return where the images `chosen` are in the data set's store."""
        return self.chosen[chosen]


def with_features(
    network: Network,
    data: Data,
    config: TrainConfig,
    world: World,
    clock: DeviceClock | None = None,
) -> tuple[Network, Data]:
    """Return the network and the data to train on: features at the freeze point where possible.

    `network` and `data` are returned as they are without `has_fixed_part`, a freeze point or room,
    where images have boxes or not `keeps_images`, and with $FIELDTRIAL_FEATURES=off.

    Training on features gives the same results up to rounding: layers may sum in another order for
    another number of images. `network` is on its device, with the weights of its frozen layers.

    clock: is told what the features cost, or would have cost.

    Raises:
        ValueError: $FIELDTRIAL_FEATURES is neither on nor off.
    """
    # ZeRO-3 partitions the weights and gathers them only in the order of a whole forward pass.
    is_partitioned = config.strategy == "zero3" and world.size > 1
    is_fixed = has_fixed_part(network, config.freeze) and keeps_images(config)
    if not are_wanted() or not is_fixed or is_partitioned or not data.targets_suffice:
        return network, data
    point = find_freeze_point(network)
    if point is None:
        return network, data
    tested = data.test if config.folds else data.test[:0]  # all folds share one file
    chosen = np.union1d(np.union1d(data.train, data.validation), tested)
    sample = sample_of(network, point, data, world)
    source = FeatureSource(network, point, data, world, sample)
    features = source.kept(chosen, clock)
    if features is None:
        return network, data
    tail = FeatureNetwork(network, point.tail.run, point.cut.tail_modules, sample)
    return tail, FeatureData.of(source, features, chosen)


def for_split(
    network: Network, data: Data, split: str, clock: DeviceClock | None = None
) -> tuple[Network, Data]:
    """Return the network and the data to score `split` with, where `with_features` gave these.

    Without folds, test images' features are a file of their own, which a search does not need. If
    they cannot be kept, the whole network is returned, and its images.
    """
    if not isinstance(data, FeatureData) or split != "test" or len(data.test):
        return network, data
    source = data.source
    features = source.kept(source.data.test, clock)
    if features is None:
        return source.network, source.data
    return network, FeatureData.of(source, features, source.data.test)


def are_wanted() -> bool:
    """Return whether features may be kept: $FIELDTRIAL_FEATURES. Raises ValueError as it says."""
    return switch("FIELDTRIAL_FEATURES") == "on"


def _open(path: Path) -> NDArray[Any] | None:
    """Return the features in `path`, memory-mapped, and update its time; None if unreadable."""
    try:
        features: NDArray[Any] = np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError, EOFError):
        return None
    with contextlib.suppress(OSError):  # in a shared folder, the file may be another user's
        os.utime(path)
    return features


def _build(source: FeatureSource, chosen: Indices, shape: tuple[int, ...], path: Path) -> None:
    """Write the features of the images `chosen`, `shape`, to `path`; the caller holds the lock."""
    log.info("computing the frozen layers' features of %d images: %s", len(chosen), path)
    make_room(math.prod(shape) * 4)
    aside = path.with_suffix(".building")
    try:
        with aside.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            os.posix_fallocate(file.fileno(), 0, file.tell() + math.prod(shape) * 4)  # or OSError
        features = np.load(aside, mmap_mode="r+")
        started = time.monotonic()
        with progress("computing features", 0, len(chosen), "images") as advance:
            for start in range(0, len(chosen), IMAGES):
                images = source.images(chosen[start : start + IMAGES], start // IMAGES)
                part = features_of(source.network, source.point, images)
                part = part.permute(0, 2, 3, 1) if source.is_channels_last else part
                features[start : start + len(part)] = part.float().cpu().numpy()
                advance(len(part))
                _require_time(source, time.monotonic() - started, (start + len(part)) / len(chosen))
        features.flush()
        aside.rename(path)
        write_cost(path, time.monotonic() - started)
    finally:
        aside.unlink(missing_ok=True)


def _require_time(source: FeatureSource, seconds: float, share: float) -> None:
    """Raise OSError if filling will take too long, where a `share` of the file took `seconds`."""
    expected = source.expected_seconds(seconds, share)
    if (seconds > ESTIMATE_SECONDS or share == 1) and expected > MOST_SECONDS:
        raise OSError(f"filling the feature cache would take {expected / 60:.0f} minutes")


def make_room(size: int) -> None:
    """Remove the longest unused files until `size` bytes of MOST_BYTES_TOGETHER are left.

    Features at the freeze point and penultimate features share that room. Files in use stay
    readable. Unfinished files of killed processes are removed too.
    """
    folders = [store_root() / name for name in (FROZEN, PENULTIMATE)]
    for begun in (file for folder in folders for file in folder.glob("*.building")):
        with contextlib.suppress(OSError), FileLock(begun.with_suffix(".npy.lock"), timeout=0):
            begun.unlink(missing_ok=True)
    files = []
    for file in (file for folder in folders for file in folder.glob("*.npy")):
        with contextlib.suppress(FileNotFoundError):  # another process may be removing files too
            files.append((file.stat().st_mtime, file.stat().st_size, file))
    files.sort()
    together = size + sum(taken for _, taken, _ in files)
    for _, taken, file in files:
        if together <= MOST_BYTES_TOGETHER:
            return
        with contextlib.suppress(PermissionError):  # in a shared folder, it may be another user's
            file.unlink(missing_ok=True)
            cost_path(file).unlink(missing_ok=True)
            together -= taken


def features_of(network: Network, point: FreezePoint, images: torch.Tensor) -> torch.Tensor:
    """Return the features of images as `Network.normalise` takes them, all on the device."""
    network.eval()
    with torch.no_grad():
        features: torch.Tensor = network.compute(point.prefix.run, network.normalise(images))
    return features


def sample_of(network: Network, point: FreezePoint, data: Data, world: World) -> torch.Tensor:
    """Return a tensor of the shape and type of one image's features, which copies share."""
    key = ("features of an image", point.cut.key, world.device.type, data.image_size)
    if key not in network.known:
        image = torch.from_numpy(data.take(np.arange(1))).to(world.device)
        own = features_of(network, point, image)
        network.known[key] = torch.empty_like(own)
    sample: torch.Tensor = network.known[key]
    return sample


def _key(source: FeatureSource, chosen: Indices) -> str:
    """Return a name for the features, from the data, the images and all that computes them."""
    network, point = source.network, source.point
    facts: tuple[object, ...] = (
        FORMAT,
        source.data.store,
        point.cut.computation,
        network.precision,
        network.memory_format,
        source.sample.dtype,
        source.world.device.type,
        torch.__version__,
    )
    tensors = ("mean", "std", *(f"model.{name}" for name in point.cut.tensors))
    facts = (*facts, *(f"{name} {network.digest_of(name)}" for name in tensors))
    key = hashlib.blake2b("\n".join(map(str, facts)).encode(), digest_size=8)
    key.update(source.view.encode() + chosen.tobytes())
    return key.hexdigest()
