"""The model libraries, torchvision and timm, behind one interface; each is imported only when it is
asked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from fieldtrial.training.models.pretrained import hub_file, hugging_face_file
from fieldtrial.training.models.weights import read_state

# in pixels, of images that Inception's auxiliary classifier can take: its own size, or more
AUXILIARY_SIZE = 299


@dataclass(frozen=True)
class Pretraining:
    """What a library's ImageNet weights expect of images: their side in pixels, and the
    normalisation per channel.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Library(Protocol):
    """A source of classifiers by name."""

    def has(self, name: str) -> bool:
        """Return whether the library has a classifier of this name."""

    def names(self) -> list[str]:
        """Return the names of all its classifiers."""

    def pretraining(self, name: str) -> Pretraining:
        """Return what the model's ImageNet weights expect."""

    def create(
        self, name: str, classes: int, image_size: int, dropout: float
    ) -> tuple[nn.Module, str]:
        """Return the model with freshly drawn weights, and the dotted name of its last layer.

        Raises:
            ValueError: it has no dropout to set, or no last layer of its own.
        """

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """Return the model's ImageNet weights, fitted to images of `image_size` pixels, and the
        file they come from.

        Raises:
            ValueError: the file is not here and cannot be fetched; the message says which file, and
            where to put it.
        """


class Torchvision:
    """The classifiers of torchvision.models."""

    def has(self, name: str) -> bool:
        """See Library."""
        return name in self.names()

    def names(self) -> list[str]:
        """See Library."""
        import torchvision.models

        return list(torchvision.models.list_models(module=torchvision.models))

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        transform = self._weights(name).transforms()
        return Pretraining(transform.crop_size[0], tuple(transform.mean), tuple(transform.std))

    def create(
        self, name: str, classes: int, image_size: int, dropout: float
    ) -> tuple[nn.Module, str]:
        """See Library. Where torchvision's dropout is that of all layers (vit, swin), so it is
        here.

        Inception v3 has its auxiliary classifier where the images are large enough for it, and
        GoogLeNet never.
        """
        import torchvision.models

        builder = torchvision.models.get_model_builder(name)
        arguments: dict[str, Any] = {"weights": None, "num_classes": classes}
        if name.startswith("vit_"):
            arguments["image_size"] = image_size
        elif name == "maxvit_t":
            arguments["input_size"] = (image_size, image_size)
        elif name in ("googlenet", "inception_v3"):
            # transform_input turns the ImageNet normalisation into the one their weights were
            # trained with
            auxiliary = name == "inception_v3" and image_size >= AUXILIARY_SIZE
            arguments |= {"aux_logits": auxiliary, "init_weights": True, "transform_input": True}
        model = _build(name, lambda **extra: builder(**arguments, **extra), "dropout", dropout)
        layers = [layer for layer, module in model.named_modules() if isinstance(module, nn.Linear)]
        layers = layers or [
            layer for layer, module in model.named_modules() if isinstance(module, nn.Conv2d)
        ]
        return model, layers[-1]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        weights = self._weights(name)
        digest = re.search(r"-([a-f0-9]{8,})\.", weights.url)
        size = weights.meta.get("_file_size")
        path = hub_file(f"torchvision:{name}", weights.url, digest[1] if digest else None, size)
        state = read_state(path)
        if name.startswith("vit_") and image_size != self.pretraining(name).image_size:
            from torchvision.models.vision_transformer import interpolate_embeddings

            patch = state["conv_proj.weight"].shape[-1]
            if image_size % patch == 0:  # otherwise the size is refused where the model is tried
                state = interpolate_embeddings(image_size, patch, state)
        return state, path

    def _weights(self, name: str) -> Any:
        import torchvision.models

        return torchvision.models.get_model_weights(name).DEFAULT


class Timm:
    """The models of timm; a name may carry a weights tag, such as resnet18.a1_in1k, or be an older
    one (xception).
    """

    def has(self, name: str) -> bool:
        """See Library."""
        import timm

        name = self._current(name)
        return bool(timm.is_model(name)) and (
            "." not in name or name in timm.list_models(pretrained=True)
        )

    def names(self) -> list[str]:
        """See Library."""
        import timm

        return [*timm.list_models(), *timm.list_models(pretrained=True)]

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        settings = self._settings(name)
        return Pretraining(settings.input_size[-1], tuple(settings.mean), tuple(settings.std))

    def create(
        self, name: str, classes: int, image_size: int, dropout: float
    ) -> tuple[nn.Module, str]:
        """See Library."""
        import timm

        name = self._current(name)
        arguments = {"num_classes": classes, **self._size_arguments(name, image_size)}
        model = _build(
            name,
            lambda **extra: timm.create_model(name, **arguments, **extra),
            "drop_rate",
            dropout,
        )
        head = model.get_classifier()
        names = [layer for layer, module in model.named_modules() if module is head]
        if not names or not any(True for _ in head.parameters()):
            raise ValueError(
                f"model = 'timm:{name}': it has no single last layer that could be trained anew"
            )
        return model, names[0]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        import timm

        name = self._current(name)
        settings = self._settings(name)
        if settings.hf_hub_id:
            path, changes = hugging_face_file(f"timm:{name}", settings), {"custom_load": False}
        elif settings.url:
            path, changes = hub_file(f"timm:{name}", settings.url), {}
        else:
            raise ValueError(f"weights = 'imagenet': timm has no pretrained weights of {name}")
        if (
            settings.hf_hub_id or not settings.custom_load
        ):  # else it is numpy's, and read without pickles
            read_state(
                path
            )  # raises where there is code in it, which older releases of timm would run
        try:  # timm itself fits its weights to the image size and the model's layout
            model = timm.create_model(
                name,
                pretrained=True,
                pretrained_cfg_overlay={"file": str(path), **changes},
                num_classes=settings.num_classes,
                **self._size_arguments(name, image_size),
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: not the weights of timm:{name}: {reason}") from None
        return model.state_dict(), path

    def _settings(self, name: str) -> Any:
        from timm.models import get_pretrained_cfg

        return get_pretrained_cfg(self._current(name))

    def _current(self, name: str) -> str:
        """Return what timm calls the model now."""
        from timm.models import get_deprecated_models

        return get_deprecated_models().get(name) or name

    def _size_arguments(self, name: str, image_size: int) -> dict[str, int]:
        return {"img_size": image_size} if self._settings(name).fixed_input_size else {}


LIBRARIES: dict[str, Library] = {"torchvision": Torchvision(), "timm": Timm()}


def _build(name: str, builder: Callable[..., Any], keyword: str, dropout: float) -> Any:
    """Return the model with this dropout; without it, where the library knows none and none is
    wanted.
    """
    try:
        return builder(**{keyword: dropout})
    except TypeError as error:
        if f"'{keyword}'" not in str(error):
            raise
    if dropout:
        raise ValueError(
            f"dropout = {dropout}: {name} has none that could be set; it must be 0 for this model"
        )
    return builder()
