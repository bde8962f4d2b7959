"""Models: the own CNN and MLP, and the way from a model's name to a module with a fresh
last layer.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fieldtrial.config import Activation, TrainConfig
from fieldtrial.training.models.libraries import LIBRARIES

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
}
OWN_HEAD = "head"


@dataclass(frozen=True)
class Facts:
    """What a model must know of its data: the number of classes, the images' channels and their
    side in pixels.
    """

    classes: int
    channels: int
    image_size: int


def build_cnn(config: TrainConfig, facts: Facts) -> nn.Module:
    """Return the CNN: blocks of convolutions, batch normalisation, activation and pooling, then
    dense layers.

    With padding = same, a convolution keeps the image's size and pooling halves it, rounding up, so
    that any size passes through any number of blocks (224 pixels become 7 in five, 8 pixels become
    1); with valid, a convolution takes its kernel's side less one away, and pooling rounds down.
    The last layer is named head.

    Raises:
        ValueError: nothing is left of the image, without padding.
    """
    layers = nn.Sequential()
    channels, side = facts.channels, facts.image_size
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
                f"image_size = {facts.image_size}: too small for {config.blocks} blocks of"
                f" {config.convolutions} convolutions with padding = 'valid': nothing is left of it"
                f" after block {number}"
            )
        channels = filters
    return _add_dense(layers, channels * side * side, config, facts.classes)


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


def build_mlp(config: TrainConfig, facts: Facts) -> nn.Module:
    """Return the multi-layer perceptron: the flattened image, then dense layers. The last layer is
    named head.
    """
    width = facts.channels * facts.image_size**2
    return _add_dense(nn.Sequential(), width, config, facts.classes, config.block_dropout)


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
    """Return `layers`, followed by the dense layers, dropout and the last layer; `width` features
    come in.

    `between` is the probability of the dropout between two dense layers.
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
    layers.add_module(OWN_HEAD, nn.Linear(width, classes))
    return layers


MODELS: dict[str, Callable[[TrainConfig, Facts], nn.Module]] = {"cnn": build_cnn, "mlp": build_mlp}


def resolve(name: str) -> tuple[str | None, str]:
    """Return the library that `name` stands for (a key of LIBRARIES, or None for an own model) and
    its name there.

    `timm:NAME` and `torchvision:NAME` say the library; a bare name is an own model, else
    torchvision's, else timm's.

    Raises:
        ValueError: nobody has such a model; the message has the closest names.
    """
    if name in MODELS:
        return None, name
    prefix, _, bare = name.rpartition(":")
    searched = [prefix] if prefix else list(LIBRARIES)
    for library in searched:
        if LIBRARIES[library].has(bare):
            return library, bare
    known = [
        *([] if prefix else MODELS),
        *(known for library in searched for known in LIBRARIES[library].names()),
    ]
    close = difflib.get_close_matches(bare, dict.fromkeys(known), n=4, cutoff=0.5)
    raise ValueError(
        f"model = {name!r}: no such model in {prefix or ', '.join(['this project', *LIBRARIES])}"
        + (f"; close: {', '.join(close)}" if close else "")
        + f"; own models: {', '.join(MODELS)}; timm:NAME or torchvision:NAME says whose model is"
        " meant"
    )


def input_channels(name: str, data_channels: int) -> int:
    """Return how many channels the model takes: an own one the data's, a library's the three of its
    weights.
    """
    return data_channels if resolve(name)[0] is None else 3


def create(config: TrainConfig, facts: Facts) -> tuple[nn.Module, str]:
    """Return the model with freshly drawn weights, and the dotted name of its last layer.

    Raises:
        ValueError: an unknown model, a dropout that it cannot have, a size that it cannot take.
    """
    library, name = resolve(config.model)
    if library is None:
        return MODELS[name](config, facts), OWN_HEAD
    model, head = LIBRARIES[library].create(name, facts.classes, facts.image_size, config.dropout)
    if config.block_dropout:
        _drop_in_blocks(model, config)
    return model, head


def _drop_in_blocks(model: nn.Module, config: TrainConfig) -> None:
    """Put dropout after each ReLU in the residual blocks of a ResNet of torchvision. Raises
    ValueError for others.
    """
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
