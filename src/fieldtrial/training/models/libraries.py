"""Where models come from by name: the interface, and the library torchvision.

A library is imported on first use.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.disk.reading import sha256
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.data.recipe import Recipe
from fieldtrial.training.models.categories import imagenet_categories
from fieldtrial.training.models.eager import defer_compiler
from fieldtrial.training.models.library.dropout import DEPTH, Rate, drop_in_blocks, with_rates
from fieldtrial.training.models.library.origins import UNKNOWN, Origin, choose, data_of
from fieldtrial.training.models.pretrained import hub_file
from fieldtrial.training.models.published import (
    Preprocessing,
    Published,
    torchvision_figures,
)
from fieldtrial.training.models.weights import load_whole, read_state, read_state_once

# Inception's own image size in pixels; its auxiliary classifier takes no smaller images.
AUXILIARY_SIZE = 299


@dataclass(frozen=True)
class Pretraining:
    """The images of a library's weights: side in pixels, normalisation per channel, recipe."""

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe | None


class Library(Protocol):
    """A source of classifiers by name."""

    def names(self) -> list[str]:
        """Return the names of all its classifiers."""

    def has(self, name: str) -> bool:
        """Return whether the library has a classifier of this name."""

    def tagged(self, name: str, tag: str) -> str:
        """Return the name of the model with the weights `tag`, for the methods below.

        Raises:
            ValueError: there are no such weights; the message has the choices.
        """

    def origin(self, name: str) -> Origin:
        """Return where the model's weights come from."""

    def pretraining(self, name: str) -> Pretraining | None:
        """Return what the model's ImageNet weights expect of images; None if there are none."""

    def channels(self, data_channels: int) -> int:
        """Return how many channels a model takes where the data's images have `data_channels`."""

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """Return the model with freshly drawn weights, and the dotted name of its last layer.

        Raises:
            ValueError: it cannot have the config's dropout, stochastic depth or image size, or has
                no last layer of its own.
        """

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """Return the model's ImageNet weights, fitted to images of `image_size`, and their file.

        Raises:
            ValueError: the file is not here and cannot be fetched; the message says which file, and
                where to put it.
        """

    def published(self, name: str, file: Path | None) -> Published:
        """Return the classifier as published, with the weights in `file`; None: the library's.

        Raises:
            ValueError: the model has no published last layer, or one of unknown classes; `file`
                does not fit; or as `imagenet`.
        """


class Torchvision:
    """The classifiers of torchvision.models."""

    def names(self) -> list[str]:
        """See Library."""
        models = _models()
        return list(models.list_models(module=models))

    def has(self, name: str) -> bool:
        """See Library."""
        return name in self.names()

    def tagged(self, name: str, tag: str) -> str:
        """See Library."""
        known = [one.name for one in _models().get_model_weights(name)]
        return f"{name}:{choose(f'torchvision:{name}', tag, known)}"

    def origin(self, name: str) -> Origin:
        """See Library."""
        weights = self._weights(name)
        recipe = str(weights.meta.get("recipe") or UNKNOWN)
        return Origin(
            f"torchvision:{weights}".replace("_Weights", ""), data_of(weights.name), recipe
        )

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        transform = self._weights(name).transforms()
        side = transform.crop_size[0]
        recipe = Recipe(
            "shorter side", transform.resize_size[0], transform.interpolation.value, side
        )
        return Pretraining(side, tuple(transform.mean), tuple(transform.std), recipe)

    def channels(self, _data_channels: int) -> int:
        """See Library."""
        return 3

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library. Dropout is that of all layers where torchvision's is (vit, swin).

        Inception v3 has its auxiliary classifier where the images are large enough for it, and
        GoogLeNet never.
        """
        name = name.partition(":")[0]
        builder = _builder(name)
        size = shape.image_size
        arguments: dict[str, Any] = {"weights": None, "num_classes": shape.classes}
        if name.startswith("vit_"):
            arguments["image_size"] = size
        elif name == "maxvit_t":
            arguments["input_size"] = (size, size)
        elif name in ("googlenet", "inception_v3"):
            # transform_input turns the ImageNet normalisation into the one that their weights were
            # trained with
            auxiliary = name == "inception_v3" and size >= AUXILIARY_SIZE
            arguments |= {"aux_logits": auxiliary, "init_weights": True, "transform_input": True}
        model = with_rates(
            name,
            lambda **more: builder(**arguments, **more),
            Rate("dropout", "dropout", config.dropout),
            Rate("stochastic_depth", DEPTH, config.stochastic_depth),
        )
        modules = list(model.named_modules())
        layers = [layer for layer, module in modules if isinstance(module, nn.Linear)]
        layers = layers or [layer for layer, module in modules if isinstance(module, nn.Conv2d)]
        drop_in_blocks(model, config)
        return model, layers[-1]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        weights = self._weights(name)
        size = weights.meta.get("_file_size")
        path = hub_file(
            f"torchvision:{name.partition(':')[0]}", weights.url, _digest(weights), size
        )
        state = dict(read_state_once(path))
        if name.startswith("vit_") and image_size != self.pretraining(name).image_size:
            from torchvision.models.vision_transformer import interpolate_embeddings

            patch = state["conv_proj.weight"].shape[-1]
            if image_size % patch == 0:  # otherwise the size is refused where the model is tried
                state = interpolate_embeddings(image_size, patch, state)
        return state, path

    def published(self, name: str, file: Path | None) -> Published:
        """See Library. A file of other weights than the default is known by its SHA-256."""
        weights, known = self._weights(name), True
        if file:
            weights, known = self._weights_in(name, file)
        transform, names = weights.transforms(), weights.meta["categories"]
        size = transform.crop_size[0]
        model, _ = self.create(name, TrainConfig(), DataShape(len(names), 3, size))
        state, path = (read_state(file), file) if file else self.imagenet(name, size)
        load_whole(model, state, path)
        default = f"torchvision's {weights.name}"
        stranger = f"{path}, none of torchvision's files; images as for {default}"
        return Published(
            model=model.eval(),
            origin=f"{default}, {path}" if known else stranger,
            categories=imagenet_categories(names=names),
            preprocessing=Preprocessing.of_torchvision(transform),
            figures=torchvision_figures(weights),
            figures_of="" if known else default,
        )

    def _weights(self, name: str) -> Any:
        model, _, tag = name.partition(":")
        known = _models().get_model_weights(model)
        return known[tag] if tag else known.DEFAULT

    def _weights_in(self, name: str, file: Path) -> tuple[Any, bool]:
        """Return torchvision's weights that `file` holds and True, or the default and False."""
        own = sha256(file)
        for one in _models().get_model_weights(name):
            if (digest := _digest(one)) and own.startswith(digest):
                return one, True
        return self._weights(name), False


def _models() -> Any:
    """Return torchvision.models, imported without the compiler that it would import."""
    defer_compiler()
    import torchvision.models

    return torchvision.models


def _builder(name: str) -> Callable[..., Any]:
    """Return torchvision's builder of a model, also for the meta device.

    RegNets compute their widths with tensors, which need numbers: they are built, then moved.
    """
    builder: Callable[..., Any] = _models().get_model_builder(name)
    if not name.startswith("regnet_") or torch.get_default_device().type != "meta":
        return builder

    def build(**arguments: Any) -> Any:
        with torch.device("cpu"):
            return builder(**arguments).to("meta")

    return build


def _digest(weights: Any) -> str | None:
    """Return the first digits of the SHA-256 of torchvision's file, which its name has."""
    digest = re.search(r"-([a-f0-9]{8,})\.", weights.url)
    return digest[1] if digest else None
