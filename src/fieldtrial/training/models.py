"""Models: the own CNN and MLP, and the way from a model's name to a module with a fresh last layer."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fieldtrial.config import CNN_BLOCKS, Activation, TrainConfig
from fieldtrial.training.libraries import LIBRARIES

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
    """What a model must know of its data: the number of classes, the images' channels and their side in pixels."""

    classes: int
    channels: int
    image_size: int


def build_cnn(config: TrainConfig, facts: Facts) -> nn.Module:
    """Return the CNN: five blocks of convolution, batch normalisation, activation and pooling, then dense layers.

    A convolution keeps the image's size; pooling halves it, rounding up, so that any size passes through five blocks
    (224 pixels become 7, 8 pixels become 1). The last layer is named head.
    """
    layers = nn.Sequential()
    channels, side = facts.channels, facts.image_size
    kernels = config.kernel_size * CNN_BLOCKS if len(config.kernel_size) == 1 else config.kernel_size
    for index, (filters, kernel) in enumerate(zip(_filters(config), kernels, strict=True), start=1):
        block = nn.Sequential()
        block.add_module("convolution", nn.Conv2d(channels, filters, kernel, padding="same"))
        if config.batch_norm:
            block.add_module("batch_norm", nn.BatchNorm2d(filters))
        block.add_module("activation", ACTIVATIONS[config.activation]())
        block.add_module("pool", nn.MaxPool2d(2, ceil_mode=True))
        layers.add_module(f"block{index}", block)
        channels, side = filters, (side + 1) // 2
    return _add_dense(layers, channels * side * side, config, facts.classes)


def build_mlp(config: TrainConfig, facts: Facts) -> nn.Module:
    """Return the multi-layer perceptron: the flattened image, then dense layers. The last layer is named head."""
    return _add_dense(nn.Sequential(), facts.channels * facts.image_size**2, config, facts.classes)


def _filters(config: TrainConfig) -> list[int]:
    """Return the number of filters of each block."""
    if len(config.filters) == CNN_BLOCKS:
        return list(config.filters)
    return [max(1, round(config.filters[0] * config.filter_growth**block)) for block in range(CNN_BLOCKS)]


def _add_dense(layers: nn.Sequential, width: int, config: TrainConfig, classes: int) -> nn.Sequential:
    """Return `layers`, followed by the dense layers, dropout and the last layer; `width` features come in."""
    layers.add_module("flatten", nn.Flatten())
    for index, wide in enumerate(config.dense_width, start=1):
        layers.add_module(f"dense{index}", nn.Linear(width, wide))
        layers.add_module(f"activation{index}", ACTIVATIONS[config.activation]())
        width = wide
    if config.dropout:
        layers.add_module("dropout", nn.Dropout(config.dropout))
    layers.add_module(OWN_HEAD, nn.Linear(width, classes))
    return layers


MODELS: dict[str, Callable[[TrainConfig, Facts], nn.Module]] = {"cnn": build_cnn, "mlp": build_mlp}


def resolve(name: str) -> tuple[str | None, str]:
    """Return the library that `name` stands for (a key of LIBRARIES, or None for an own model) and its name there.

    `timm:NAME` and `torchvision:NAME` say the library; a bare name is an own model, else torchvision's, else timm's.

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
    known = [*([] if prefix else MODELS), *(known for library in searched for known in LIBRARIES[library].names())]
    close = difflib.get_close_matches(bare, dict.fromkeys(known), n=4, cutoff=0.5)
    raise ValueError(
        f"model = {name!r}: no such model in {prefix or ', '.join(['this project', *LIBRARIES])}"
        + (f"; close: {', '.join(close)}" if close else "")
        + f"; own models: {', '.join(MODELS)}; timm:NAME or torchvision:NAME says whose model is meant"
    )


def input_channels(name: str, data_channels: int) -> int:
    """Return how many channels the model takes: an own one the data's, a library's the three of its weights."""
    return data_channels if resolve(name)[0] is None else 3


def create(config: TrainConfig, facts: Facts) -> tuple[nn.Module, str]:
    """Return the model with freshly drawn weights, and the dotted name of its last layer.

    Raises:
        ValueError: an unknown model, a dropout that it cannot have, a size that it cannot take.
    """
    library, name = resolve(config.model)
    if library is None:
        return MODELS[name](config, facts), OWN_HEAD
    return LIBRARIES[library].create(name, facts.classes, facts.image_size, config.dropout)
