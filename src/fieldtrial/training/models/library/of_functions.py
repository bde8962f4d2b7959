"""Models that a function builds: those of this package, and own models."""

from pathlib import Path
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.own.names import is_own
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.data.splits import first_of
from fieldtrial.training.models.architectures import HEAD, MODELS
from fieldtrial.training.parts.part import Part, part_of
from fieldtrial.training.parts.saying import of_kind

NAME_IT = 'name it in the module, such as head = "classifier.2"'
IMAGES = 2  # that an own model is tried with


class Model(Protocol):
    """What builds a model: a function, or a class of modules.

    The module that it returns takes normalised images, float32 (n, channels, side, side), and
    returns float logits (n, classes). It may have two attributes, and is looked at for what they
    would say where it lacks them:

    * `head`: the last layer, or its dotted name. Else it is the last linear layer or, without any,
      the last convolution, in order of registration.
    * `blocks`: the dotted names of its parts in order of depth, which freezing counts. Else they
      are found as in a library's models; see `depth_axis.units`.
    """

    def __call__(self, shape: DataShape, /, *_: Any, **options: Any) -> nn.Module:
        """Return the module for data of this shape, with freshly drawn weights."""


class Functions:
    """See libraries.Library. A name is a key of MODELS, or says whose function it is."""

    def names(self) -> list[str]:
        """See Library."""
        return list(MODELS)

    def has(self, name: str) -> bool:
        """See Library."""
        return name in MODELS or is_own(name)

    def tagged(self, name: str, tag: str) -> NoReturn:
        """See Library."""
        raise _none(name, f"imagenet:{tag}")

    def origin(self, name: str) -> NoReturn:
        """See Library."""
        raise ValueError(f"{name} has no pretrained weights")

    def pretraining(self, _name: str) -> None:
        """See Library."""

    def channels(self, data_channels: int) -> int:
        """See Library."""
        return data_channels

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library.

        Raises:
            ConfigError: an own model is no module, or one without a last layer
                or with outputs of another shape.
            OwnCodeError: it cannot be built, or cannot take such images.
        """
        part = part_of("model", name, config, MODELS)
        if not part.is_own:
            return part(shape), HEAD
        model = _built(part, shape)
        head = _head(part, model, shape.classes)
        _require_blocks(part, model, head)
        _try(part, model, head, shape)
        return model, head

    def imagenet(self, name: str, _image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        raise _none(name, "imagenet")

    def published(self, name: str, _file: Path | None) -> NoReturn:
        """See Library."""
        raise ValueError(
            f"model = {name!r}: was never published, so it has no last layer to keep; evaluate a"
            " run of it with --run"
        )


def _none(name: str, weights: str) -> ValueError:
    return ValueError(
        f"weights = {weights!r}: there are none of {name}; only library models have them"
    )


def _built(part: Part, shape: DataShape) -> nn.Module:
    """Return the module that an own part builds. Raises OwnCodeError and ConfigError."""
    with part.blaming(f"for {_text(shape)}"):
        model = part.call(shape, **part.options)
    if not isinstance(model, nn.Module):
        raise part.unexpected(model, "a module")
    return model


def _head(part: Part, model: nn.Module, classes: int) -> str:
    """Return the dotted name of the last layer. Raises ConfigError if there is none."""
    named = getattr(model, "head", None)
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(named, nn.Module):
        named = "head"
    if isinstance(named, str):
        if named not in modules:
            raise part.refused(f"head = {named!r}: {_has(modules)}")
        if not any(True for _ in modules[named].parameters()):
            raise part.refused(f"head = {named!r}: has no parameters, so it cannot be trained")
        return str(named)
    widths = {name: one.out_features for name, one in modules.items() if isinstance(one, nn.Linear)}
    widths = widths or {
        name: one.out_channels for name, one in modules.items() if isinstance(one, nn.Conv2d)
    }
    if not modules:
        raise part.refused(
            "its last layer cannot be found: it has no modules inside; make the last layer one of"
            f" them, such as self.head = nn.Linear(width, {classes})"
        )
    if not widths:
        raise part.refused(
            f"its last layer cannot be found: it has no linear layer and no convolution; {NAME_IT};"
            f" {_has(modules)}"
        )
    last: str = list(widths)[-1]
    if widths[last] != classes:
        raise part.refused(
            f"its last layer cannot be found: {last} gives {widths[last]} numbers, and the data"
            f" have {classes} classes; {NAME_IT}"
        )
    return last


def _require_blocks(part: Part, model: nn.Module, head: str) -> None:
    """Raise ConfigError if `blocks` names what is not there, or what holds the head or a block."""
    modules = {name: module for name, module in model.named_modules() if name}
    named = named_blocks(model)
    for name in named:
        if name not in modules:
            raise part.refused(f"blocks: no module {name!r}; {_has(modules)}")
        if inside := [one for one in (head, *named) if one.startswith(f"{name}.")]:
            raise part.refused(f"blocks: {name!r} holds {inside[0]!r}, the last layer or a block")


def named_blocks(model: nn.Module) -> tuple[str, ...]:
    """Return the names in the attribute `blocks`, or none: timm's transformers have modules there.

    See Model.
    """
    found: object = getattr(model, "blocks", None)
    is_named = isinstance(found, list | tuple) and all(isinstance(one, str) for one in found)
    return tuple(found) if is_named and isinstance(found, list | tuple) else ()


def _has(modules: dict[str, nn.Module]) -> str:
    return f"its modules are {first_of(list(modules))}" if modules else "it has no modules inside"


def _try(part: Part, model: nn.Module, head: str, shape: DataShape) -> None:
    """Raise ConfigError unless the model gives two images logits by its last layer; OwnCodeError
    if it fails.
    """
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    training = [module for module in model.modules() if module.training]
    handle = model.get_submodule(head).register_forward_hook(count)
    images = torch.zeros(IMAGES, shape.channels, shape.image_size, shape.image_size)
    model.eval()
    try:
        with part.blaming(f"on {IMAGES} {_text(shape)}"), torch.no_grad():
            outputs = model(images)
    finally:
        handle.remove()
        for module in training:
            module.training = True
    if not isinstance(outputs, Tensor) or outputs.shape != (IMAGES, shape.classes):
        raise part.refused(
            f"gave {of_kind(outputs)} for {IMAGES} {_text(shape)}, logits of shape"
            f" ({IMAGES}, {shape.classes}) were expected"
        )
    if not outputs.is_floating_point():
        raise part.refused(f"gave logits of type {outputs.dtype}, floats were expected")
    if passes != 1:
        times = "not used" if not passes else f"used {passes} times"
        raise part.refused(f"its last layer {head} is {times} for an output; {NAME_IT}")


def _text(shape: DataShape) -> str:
    side = shape.image_size
    return f"images of {side} × {side} pixels and {shape.channels} channels"
