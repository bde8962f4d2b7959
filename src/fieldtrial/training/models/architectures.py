"""The project's own models: a CNN and a multi-layer perceptron."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.fields.choices import Activation
from fieldtrial.training.data.load import DataShape

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
}
HEAD = "head"


def build_cnn(config: TrainConfig, shape: DataShape) -> nn.Module:
    """Return the CNN: blocks of convolutions, normalisation and pooling, then dense layers.

    With padding = same, a convolution keeps the image's size and pooling halves it, rounding up.
    Any size passes through any number of blocks: five turn 224 pixels into 7, and 8 pixels into 1.
    With padding = valid, a convolution takes its kernel's side less one away, and pooling rounds
    down.

    Raises:
        ValueError: nothing is left of the image, without padding.
    """
    layers = nn.Sequential()
    channels, side = shape.channels, shape.image_size
    kernels = (
        config.kernel_size * config.blocks if len(config.kernel_size) == 1 else config.kernel_size
    )
    for number, (filters, kernel) in enumerate(
        zip(_filters(config), kernels, strict=True), start=1
    ):
        layers.add_module(f"block{number}", _block(channels, filters, kernel, config))
        side = (
            (side + 1) // 2
            if config.padding == "same"
            else (side - config.convolutions * (kernel - 1)) // 2
        )
        if side < 1:
            raise ValueError(
                f"image_size = {shape.image_size}: too small for {config.blocks} blocks of"
                f" {config.convolutions} convolutions with padding = 'valid': nothing is left of it"
                f" after block {number}"
            )
        channels = filters
    return _add_dense(layers, channels * side * side, config, shape.classes)


def _block(channels: int, filters: int, kernel: int, config: TrainConfig) -> nn.Sequential:
    """Return one block of the CNN, which takes `channels` channels and returns `filters`."""
    block = nn.Sequential()
    for number in ("", *map(str, range(2, config.convolutions + 1))):
        block.add_module(
            f"convolution{number}", nn.Conv2d(channels, filters, kernel, padding=config.padding)
        )
        if config.batch_norm and config.batch_norm_after == "convolution":
            block.add_module(f"batch_norm{number}", nn.BatchNorm2d(filters))
        block.add_module(f"activation{number}", ACTIVATIONS[config.activation]())
        channels = filters
    block.add_module("pool", nn.MaxPool2d(2, ceil_mode=config.padding == "same"))
    if config.batch_norm and config.batch_norm_after == "pool":
        block.add_module("batch_norm", nn.BatchNorm2d(filters))
    if config.block_dropout:
        block.add_module("dropout", nn.Dropout(config.block_dropout))
    return block


def build_mlp(config: TrainConfig, shape: DataShape) -> nn.Module:
    """Return the multi-layer perceptron: the flattened image, then dense layers."""
    width = shape.channels * shape.image_size**2
    return _add_dense(nn.Sequential(), width, config, shape.classes, config.block_dropout)


def _filters(config: TrainConfig) -> list[int]:
    """Return the number of filters of each block."""
    if len(config.filters) == config.blocks:
        return list(config.filters)
    return [
        max(1, round(config.filters[0] * config.filter_growth**block))
        for block in range(config.blocks)
    ]


def _add_dense(
    layers: nn.Sequential, width: int, config: TrainConfig, classes: int, between: float = 0.0
) -> nn.Sequential:
    """Return `layers`, followed by the dense layers, dropout and the last layer, named HEAD.

    `width` is the number of features that come in, `between` the probability of the dropout between
    two dense layers.
    """
    layers.add_module("flatten", nn.Flatten())
    for index, wide in enumerate(config.dense_width, start=1):
        if between and index > 1:
            layers.add_module(f"dropout{index - 1}", nn.Dropout(between))
        layers.add_module(f"dense{index}", nn.Linear(width, wide))
        layers.add_module(f"activation{index}", ACTIVATIONS[config.activation]())
        width = wide
    if config.dropout:
        layers.add_module("dropout", nn.Dropout(config.dropout))
    layers.add_module(HEAD, nn.Linear(width, classes))
    return layers


MODELS: dict[str, Callable[[TrainConfig, DataShape], nn.Module]] = {
    "cnn": build_cnn,
    "mlp": build_mlp,
}


class OwnModels:
    """The models above, as a library; see libraries.Library."""

    def names(self) -> list[str]:
        """See Library."""
        return list(MODELS)

    def has(self, name: str) -> bool:
        """See Library."""
        return name in MODELS

    def tagged(self, name: str, tag: str) -> NoReturn:
        """See Library."""
        raise ValueError(
            f"weights = 'imagenet:{tag}': there are none of {name}; only library models have them"
        )

    def origin(self, name: str) -> NoReturn:
        """See Library."""
        raise ValueError(f"{name} has no pretrained weights")

    def pretraining(self, _name: str) -> None:
        """See Library."""

    def channels(self, data_channels: int) -> int:
        """See Library."""
        return data_channels

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library."""
        return MODELS[name](config, shape), HEAD

    def imagenet(self, name: str, _image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        raise ValueError(
            f"weights = 'imagenet': there are none of {name}; only library models have them"
        )

    def published(self, name: str, _file: Path | None) -> NoReturn:
        """See Library."""
        raise ValueError(
            f"model = {name!r}: an own model was never published, so it has no last layer to keep;"
            " evaluate a run of it with --run"
        )
