"""Cached views: the features of a few augmented views of each image, in the place of new ones."""

import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.fields.freezing_schemes import is_fixed
from fieldtrial.fields.rules import is_mixed
from fieldtrial.training.augment.own_change import own_changes
from fieldtrial.training.augment.transforms import augment
from fieldtrial.training.data.crops import resampling
from fieldtrial.training.data.load import Data
from fieldtrial.training.data.originals import FORMAT as ORIGINALS
from fieldtrial.training.data.originals import without_crop
from fieldtrial.training.data.splits import Indices
from fieldtrial.training.distributed.device_clock import DeviceClock
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cache import (
    MOST_BYTES_TOGETHER,
    FeatureData,
    FeatureSource,
    are_wanted,
    sample_of,
    with_features,
)
from fieldtrial.training.freezing.freeze_point import find_freeze_point
from fieldtrial.training.models.network import Network
from fieldtrial.training.parts.part import identity_of

VIEW, FIRST = 5, 6  # purposes of random numbers


@dataclass(frozen=True, eq=False)
class ViewSource(FeatureSource):
    """What the features of the view `number` are computed from, and with."""

    config: TrainConfig
    number: int
    began: float  # when the trial's first file was asked for, on the monotonic clock

    def expected_seconds(self, seconds: float, share: float) -> float:
        """Return what filling the cache takes for all views, if further ones take as long."""
        further = views_of(self.config, self.data) - self.number - 1
        whole = super().expected_seconds(seconds, share)
        return time.monotonic() - self.began - seconds + whole * (1 + further)

    @property
    def view(self) -> str:
        """What is done to the images before: the augmentation, its seed, and where crops are from.

        Images come in blocks, whose random numbers are drawn together.
        """
        kept = self.data.originals
        crops = f"{ORIGINALS} {kept.recipe} {resampling().__name__}" if kept else ""
        own = identity_of("augmentation", self.config)
        return f"{self.config.augmentation} {self.config.seed} {self.number} {crops}{own}"

    def images(self, chosen: Indices, block: int) -> torch.Tensor:
        """Return the augmented images `chosen`, the block of that number, on the device."""
        names: tuple[str, ...] = self.config.augmentation
        originals = self.data.originals
        random = np.random.default_rng([VIEW, self.config.seed, self.number, block])
        crop, change = random.integers(2**63, size=2).tolist()
        if originals is None:
            images = super().images(chosen, block)
        else:
            images = torch.from_numpy(originals.crops(chosen, names, crop)).to(self.world.device)
            names = without_crop(names)
        return augment(images, names, change, own_changes(self.config))


@dataclass(frozen=True, eq=False, kw_only=True)
class ViewData(FeatureData):
    """Features as in FeatureData, and those of augmented views of the training images.

    Attributes:
        views: of each view, float32 (training images, ...).
        first: which view an image shows first, int64 (training images,).
    """

    views: tuple[NDArray[Any], ...]
    first: Indices

    def seen(self, chosen: Indices, epoch: int) -> NDArray[np.float32]:
        """Return the features (n, ...) of the training images `chosen` in an epoch.

        In each epoch an image shows its next view. So it shows all of them before one comes again.
        """
        places = np.searchsorted(self.train, chosen)
        shown = (self.first[places] + epoch) % len(self.views)
        # in memory as the views lie there
        found = np.empty_like(self.views[0], shape=(len(chosen), *self.images.shape[1:]))
        for number, view in enumerate(self.views):
            found[shown == number] = view[places[shown == number]]
        return found


def with_views(
    network: Network,
    data: Data,
    config: TrainConfig,
    world: World,
    clock: DeviceClock | None = None,
) -> tuple[Network, Data]:
    """Return the network and the data to train on: cached views, if the config asks for them.

    Else both are returned as they are. `network` is on its device, with the weights of its frozen
    layers; `clock` is told what the features cost, or would have cost.

    Raises:
        ConfigError: the features cannot be kept.
        ValueError: see `with_features`.
    """
    count, began = views_of(config, data), time.monotonic()
    if not count:
        return network, data
    require_views(network, data, config, world)
    # held-out images are not augmented
    plain = TrainConfig.from_dict({"augmentation": ()}, config)
    featured, held = with_features(network, data, plain, world, clock)
    if not isinstance(held, FeatureData):
        raise _problem(config)
    source = held.source
    parts = (source.network, source.point, source.data, source.world, source.sample)
    views = []
    for number in range(count):
        view = ViewSource(*parts, config, number, began).kept(data.train, clock)
        if view is None:
            raise _problem(config)
        views.append(view)
    first = np.random.default_rng([FIRST, config.seed]).integers(count, size=len(data.train))
    known = {item.name: getattr(held, item.name) for item in fields(FeatureData)}
    return featured, ViewData(**known, views=tuple(views), first=first)


def views_of(config: TrainConfig, data: Data) -> int:
    """Return how many views of each image a trial keeps, at most one an epoch; 0: it has none."""
    is_same = is_fixed(config.freeze) and not is_mixed(config)
    if not is_same or not config.augmentation or not data.targets_suffice:
        return 0
    return min(config.cached_views, config.epochs)


def require_views(network: Network, data: Data, config: TrainConfig, world: World) -> None:
    """Raise ConfigError if it is clear before any is computed that views cannot be kept.

    `network` is on `world.device`, with its layers frozen.
    """
    count = views_of(config, data)
    if not count:
        return
    point = find_freeze_point(network)
    is_partitioned = config.strategy == "zero3" and world.size > 1
    if point is None or is_partitioned or config.test_flips or not are_wanted():
        raise _problem(config)
    images = (count + 1) * len(data.train) + len(data.validation)
    if sample_of(network, point, data, world).numel() * 4 * images > MOST_BYTES_TOGETHER:
        raise _problem(config)


def _problem(config: TrainConfig) -> ConfigError:
    return ConfigError(
        [
            f"cached_views = {config.cached_views}: the frozen layers' features cannot be kept."
            " There is no one place where the frozen part ends, or the views together take more"
            " room or time than the feature cache gives, or FIELDTRIAL_FEATURES = off, or strategy"
            " = zero3 with several processes, or test_flips = true; set cached_views to 0"
        ]
    )
