"""How much of a network is computed in each epoch once its frozen layers' output is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from fieldtrial.training.data.load import Data
from fieldtrial.training.freezing.feature_cache import MOST_BYTES, are_wanted
from fieldtrial.training.freezing.freeze_point import find_freeze_point
from fieldtrial.training.models.network import Network


@dataclass(frozen=True)
class TrainedPart:
    """The part of a network behind its freeze point, which is all of it without one.

    Attributes:
        tail_flops: of one image's pass through it, as `count_flops` counts them.
        tail_tensors: how many of its parameters are tensors of this part.
        fits_cache: whether the features of all images to train or select on may be kept.
    """

    tail_flops: int
    tail_tensors: int
    fits_cache: bool


class _Part(nn.Module):
    """Runs a part of a model, whose parameters it has, so that shapes can take their place."""

    def __init__(self, model: nn.Module, run: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self._run = model, run

    def forward(self, given: Tensor) -> Any:
        return self._run(given)


def trained_part(network: Network, data: Data) -> TrainedPart:
    """Return the part of `network`, frozen as it is now, that every epoch computes.

    Shapes alone are computed with. The network is left in training mode.
    """
    whole = network.flops
    tensors = dict(network.model.named_parameters())
    is_plain = not network.unfreezes and not network.adapted  # else no features are kept for good
    frozen = is_plain and any(not parameter.requires_grad for parameter in tensors.values())
    point = find_freeze_point(network) if frozen else None
    everything = TrainedPart(whole, len(tensors), fits_cache=False)
    if point is None:
        return everything
    network.model.eval()
    image = torch.empty(1, data.channels, data.image_size, data.image_size, device="meta")
    try:
        with FlopCounterMode(display=False) as counter:
            features = _shapes(network, point.prefix.run, network.match_channels(image))
    except RuntimeError:  # a layer that needs more than shapes
        return everything
    images = len(data.train) + len(data.validation)
    in_prefix = set(point.cut.tensors)
    return TrainedPart(
        whole - int(counter.get_total_flops()),
        sum(name not in in_prefix for name in tensors),
        fits_cache=are_wanted()
        and data.targets_suffice
        and features.numel() * 4 * images <= MOST_BYTES,
    )


def _shapes(network: Network, run: Callable[[Tensor], Any], given: Tensor) -> Tensor:
    part = _Part(network.model, run)
    tensors = {**dict(part.named_parameters()), **dict(part.named_buffers())}
    shapes = {name: torch.empty_like(one, device="meta") for name, one in tensors.items()}
    features: Tensor = functional_call(part, shapes, (given,))
    return features
