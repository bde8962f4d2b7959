"""Dropout and stochastic depth of library models: their own, or what a config says."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from fieldtrial.config import TrainConfig

DEPTH = "stochastic_depth_prob"  # torchvision's keyword


class Rate(NamedTuple):
    """A rate of dropping: its field, the library's keyword for it, and a value; None: its own."""

    field: str
    keyword: str
    value: float | None


def with_rates(name: str, builder: Callable[..., Any], *rates: Rate) -> Any:
    """Return the model `name` with these rates. One without the keyword can have 0.

    Stochastic depth (G. Huang et al., "Deep Networks with Stochastic Depth", 2016) leaves out a
    residual block for an image with a probability that rises linearly from 0 to the rate.

    Raises:
        ValueError: the model has no such rate, and another than 0 is asked for.
    """
    asked = {rate.keyword: rate for rate in rates if rate.value is not None}
    depth: float | None = None
    while True:
        try:
            model = builder(**{keyword: rate.value for keyword, rate in asked.items()})
            break
        except TypeError as error:
            refused = next((one for one in asked if f"'{one}'" in str(error)), None)
            if refused is None:
                raise
            rate = asked.pop(refused)
            # torchvision's functions for Swin and MaxViT give a rate of their own.
            if refused == DEPTH and "multiple values" in str(error):
                depth = rate.value
            elif rate.value:
                raise ValueError(
                    f"{rate.field} = {rate.value}: {name} has none that could be set; it must be"
                    " none or 0 for this model"
                ) from None
    if depth is not None:
        _set_stochastic_depth(model, depth)
    return model


def _set_stochastic_depth(model: nn.Module, rate: float) -> None:
    """Set the last of the rates of torchvision's layers, and the others in proportion."""
    from torchvision.ops import StochasticDepth

    layers = [layer for layer in model.modules() if isinstance(layer, StochasticDepth)]
    most = max(layer.p for layer in layers)
    for layer in layers:
        layer.p *= rate / most


def drop_in_blocks(model: nn.Module, config: TrainConfig) -> None:
    """Put `block_dropout` after each ReLU in the residual blocks of torchvision's ResNets.

    Raises:
        ValueError: the model is another one, and `block_dropout` is not 0.
    """
    if not config.block_dropout:
        return
    from torchvision.models.resnet import BasicBlock, Bottleneck

    blocks = [module for module in model.modules() if isinstance(module, BasicBlock | Bottleneck)]
    if not blocks:
        raise ValueError(
            f"block_dropout = {config.block_dropout}: {config.model} has no residual blocks with a"
            " ReLU; only cnn, mlp and torchvision's ResNets (torchvision:resnet18,"
            " resnext50_32x4d, …) have a place for it, for others it must be 0"
        )
    for block in blocks:  # a block calls its one ReLU in several places
        block.relu = nn.Sequential(block.relu, nn.Dropout(config.block_dropout))
