"""The models of this package: a CNN and a multi-layer perceptron.

Each is called as `Model` in library/of_functions says. Its options are fields of the config, whose
help texts say what they do.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fieldtrial.fields.choices import Activation, NormPlace, Padding
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


@dataclass(frozen=True)
class _Blocks:
    """What the blocks of a CNN have in common; see the fields of the same names."""

    convolutions: int
    padding: Padding
    activation: Activation
    batch_norm: bool
    batch_norm_after: NormPlace
    block_dropout: float


def cnn(
    shape: DataShape,
    *,
    blocks: int,
    convolutions: int,
    filters: tuple[int, ...],
    filter_growth: float,
    kernel_size: tuple[int, ...],
    padding: Padding,
    activation: Activation,
    batch_norm: bool,
    batch_norm_after: NormPlace,
    dense_width: tuple[int, ...],
    dropout: float | None,
    block_dropout: float,
) -> nn.Module:
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
    each = _Blocks(convolutions, padding, activation, batch_norm, batch_norm_after, block_dropout)
    kernels = kernel_size * blocks if len(kernel_size) == 1 else kernel_size
    widths = _filters(blocks, filters, filter_growth)
    for number, (width, kernel) in enumerate(zip(widths, kernels, strict=True), start=1):
        layers.add_module(f"block{number}", _block(channels, width, kernel, each))
        side = (side + 1) // 2 if padding == "same" else (side - convolutions * (kernel - 1)) // 2
        if side < 1:
            raise ValueError(
                f"image_size = {shape.image_size}: too small for {blocks} blocks of"
                f" {convolutions} convolutions with padding = 'valid': nothing is left of it"
                f" after block {number}"
            )
        channels = width
    return _add_dense(
        layers, channels * side * side, shape.classes, dense_width, activation, dropout
    )


def _block(channels: int, filters: int, kernel: int, each: _Blocks) -> nn.Sequential:
    """Return one block of the CNN, which takes `channels` channels and returns `filters`."""
    block = nn.Sequential()
    for number in ("", *map(str, range(2, each.convolutions + 1))):
        block.add_module(
            f"convolution{number}", nn.Conv2d(channels, filters, kernel, padding=each.padding)
        )
        if each.batch_norm and each.batch_norm_after == "convolution":
            block.add_module(f"batch_norm{number}", nn.BatchNorm2d(filters))
        block.add_module(f"activation{number}", ACTIVATIONS[each.activation]())
        channels = filters
    block.add_module("pool", nn.MaxPool2d(2, ceil_mode=each.padding == "same"))
    if each.batch_norm and each.batch_norm_after == "pool":
        block.add_module("batch_norm", nn.BatchNorm2d(filters))
    if each.block_dropout:
        block.add_module("dropout", nn.Dropout(each.block_dropout))
    return block


def mlp(
    shape: DataShape,
    *,
    dense_width: tuple[int, ...],
    activation: Activation,
    dropout: float | None,
    block_dropout: float,
) -> nn.Module:
    """Return the multi-layer perceptron: the flattened image, then dense layers."""
    width = shape.channels * shape.image_size**2
    return _add_dense(
        nn.Sequential(), width, shape.classes, dense_width, activation, dropout, block_dropout
    )


def _filters(blocks: int, filters: tuple[int, ...], growth: float) -> list[int]:
    """Return the number of filters of each block."""
    if len(filters) == blocks:
        return list(filters)
    return [max(1, round(filters[0] * growth**block)) for block in range(blocks)]


def _add_dense(
    layers: nn.Sequential,
    width: int,
    classes: int,
    widths: tuple[int, ...],
    activation: Activation,
    dropout: float | None,
    between: float = 0.0,
) -> nn.Sequential:
    """Return `layers`, followed by the dense layers, dropout and the last layer, named HEAD.

    `width` is the number of features that come in, `between` the probability of the dropout between
    two dense layers.
    """
    layers.add_module("flatten", nn.Flatten())
    for index, wide in enumerate(widths, start=1):
        if between and index > 1:
            layers.add_module(f"dropout{index - 1}", nn.Dropout(between))
        layers.add_module(f"dense{index}", nn.Linear(width, wide))
        layers.add_module(f"activation{index}", ACTIVATIONS[activation]())
        width = wide
    if dropout:
        layers.add_module("dropout", nn.Dropout(dropout))
    layers.add_module(HEAD, nn.Linear(width, classes))
    return layers


MODELS: dict[str, Callable[..., nn.Module]] = {"cnn": cnn, "mlp": mlp}
