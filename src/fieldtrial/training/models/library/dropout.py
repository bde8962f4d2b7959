"""The dropout of library models: their own, or what a config says."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fieldtrial.config import TrainConfig


def with_dropout(
    name: str, builder: Callable[..., Any], keyword: str, dropout: float | None
) -> Any:
    """Return the model with this dropout; None: its own. One without the keyword can have 0."""
    try:
        return builder(**({} if dropout is None else {keyword: dropout}))
    except TypeError as error:
        if f"'{keyword}'" not in str(error):
            raise
    if dropout:
        raise ValueError(
            f"dropout = {dropout}: {name} has none that could be set; it must be none or 0 for"
            " this model"
        )
    return builder()


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
