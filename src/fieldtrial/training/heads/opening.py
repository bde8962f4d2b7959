"""What the trials of a group begin with: one network, one table of features, heads of their own."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import Cut
from fieldtrial.training.data.load import Data
from fieldtrial.training.distributed.world import World
from fieldtrial.training.freezing.feature_cache import FeatureData, with_features
from fieldtrial.training.freezing.trained_state import frozen_digest, trained_state
from fieldtrial.training.inputs.record import cut_of
from fieldtrial.training.loop.attempt import Attempt
from fieldtrial.training.loop.checkpoint import goes_on_with
from fieldtrial.training.loop.fit import open_trial
from fieldtrial.training.loop.saving import copied
from fieldtrial.training.models.network import FeatureNetwork, Network
from fieldtrial.training.models.weights import separate

State = dict[str, Tensor]


@dataclass(frozen=True)
class Opening:
    """What trials of one seed begin with.

    Attributes:
        data: the images.
        features: the same with features in their place.
        state: what trains of the network, as it was drawn.
    """

    data: Data
    features: FeatureData
    state: State


class Openings:
    """Opens the trials of a group. They share one network, into which each loads its own head.

    Attributes:
        network: the whole one, on its device, once a trial was admitted.
        featured: the same for features.
    """

    network: Network
    featured: FeatureNetwork

    def __init__(self, world: World) -> None:
        self._world = world
        self._first: Opening | None = None
        self._known: dict[tuple[int, Cut], Opening | None] = {}

    def admits(self, attempt: Attempt) -> bool:
        """Return whether a trial can train in this group: the first one decides on the features.

        Raises:
            what `open_trial` and `with_features` do.
        """
        config = attempt.config
        key = config.seed, cut_of(attempt.run, config)
        if key not in self._known:
            data, network = open_trial(config, attempt.run)
            if self._first:
                self._known[key] = self._as_first(self._first, config, data, network)
            else:
                self._first = self._known[key] = self._begin(attempt, data, network)
        # a trial that goes on with other frozen weights has other features
        return self._known[key] is not None and goes_on_with(attempt.run, self.network)

    def of(self, attempt: Attempt) -> Opening:
        """Return what a trial that was admitted begins with."""
        opening = self._known[attempt.config.seed, cut_of(attempt.run, attempt.config)]
        assert opening
        return opening

    @cached_property
    def written(self) -> State:
        """The network's state with each tensor contiguous on the CPU, as files have it."""
        return separate({name: one.cpu() for name, one in self.network.state_dict().items()})

    def _begin(self, attempt: Attempt, data: Data, network: Network) -> Opening | None:
        """Open the group's network and features; None where its head is not one linear layer."""
        state = copied(trained_state(network))
        network = network.to(self._world.device)
        featured, features = with_features(
            network, data, attempt.config, self._world, attempt.clock
        )
        if not isinstance(featured, FeatureNetwork) or not isinstance(features, FeatureData):
            return None
        if not _is_linear(featured, features):
            return None
        self.network, self.featured = network, featured
        return Opening(data, features, state)

    def _as_first(
        self, first: Opening, config: TrainConfig, data: Data, network: Network
    ) -> Opening | None:
        """Open the trials of another seed; None where their features or steps are others."""
        chosen, own = (np.union1d(one.train, one.validation) for one in (first.data, data))
        is_same = (
            data.store == first.data.store
            and np.array_equal(own, chosen)
            and np.array_equal(data.test, first.data.test)
            and _steps(data, config) == _steps(first.data, config)
            and frozen_digest(network) == frozen_digest(self.network)
        )
        if not is_same:
            return None
        source = replace(first.features.source, data=data)
        features = FeatureData.of(source, first.features.images, first.features.chosen)
        return Opening(data, features, copied(trained_state(network)))


def _steps(data: Data, config: TrainConfig) -> int:
    return math.ceil(len(data.train) / config.batch_size)


def _does_nothing(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Identity) or (isinstance(layer, nn.Dropout) and layer.p == 0)


def _is_linear(network: FeatureNetwork, data: FeatureData) -> bool:
    """Return whether all that trains is one linear layer with biases on features (n, width)."""
    name, graph = network.head.removeprefix("model."), data.source.point.tail.graph
    layers = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    head = network.get_submodule(network.head)
    trained = {name for name, one in network.named_parameters() if one.requires_grad}
    return (
        type(head) is nn.Linear
        and all(node.op == "call_module" for node in layers)
        and all(
            node.target == name or _does_nothing(network.model.get_submodule(str(node.target)))
            for node in layers
        )
        and data.images.ndim == 2
        and trained == {f"{network.head}.weight", f"{network.head}.bias"}
    )
