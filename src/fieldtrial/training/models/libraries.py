"""Where models come from by name: the interface, and the libraries torchvision and timm.

A library is imported on first use.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.load import DataShape
from fieldtrial.training.models.categories import imagenet_categories
from fieldtrial.training.models.pretrained import hub_file, hugging_face_file
from fieldtrial.training.models.published import (
    Preprocessing,
    Published,
    sha256,
    torchvision_figures,
)
from fieldtrial.training.models.weights import load_whole, read_state

# Inception's own image size in pixels; its auxiliary classifier takes no smaller images.
AUXILIARY_SIZE = 299


@dataclass(frozen=True)
class Pretraining:
    """The images of a library's ImageNet weights: side in pixels, normalisation per channel."""

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Library(Protocol):
    """A source of classifiers by name."""

    def names(self) -> list[str]:
        """Return the names of all its classifiers."""

    def has(self, name: str) -> bool:
        """Return whether the library has a classifier of this name."""

    def pretraining(self, name: str) -> Pretraining | None:
        """Return what the model's ImageNet weights expect of images; None if there are none."""

    def tag(self, name: str) -> str:
        """Return the library's own name of the model's ImageNet weights."""

    def channels(self, data_channels: int) -> int:
        """Return how many channels a model takes where the data's images have `data_channels`."""

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """Return the model with freshly drawn weights, and the dotted name of its last layer.

        Raises:
            ValueError: it cannot have the config's dropout or the image size, or has no last layer
                of its own.
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
        import torchvision.models

        return list(torchvision.models.list_models(module=torchvision.models))

    def has(self, name: str) -> bool:
        """See Library."""
        return name in self.names()

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        transform = self._weights(name).transforms()
        return Pretraining(transform.crop_size[0], tuple(transform.mean), tuple(transform.std))

    def tag(self, name: str) -> str:
        """See Library."""
        return str(self._weights(name).name)

    def channels(self, _data_channels: int) -> int:
        """See Library."""
        return 3

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library. Dropout is that of all layers where torchvision's is (vit, swin).

        Inception v3 has its auxiliary classifier where the images are large enough for it, and
        GoogLeNet never.
        """
        import torchvision.models

        builder = torchvision.models.get_model_builder(name)
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
        model = _build(name, lambda **more: builder(**arguments, **more), "dropout", config.dropout)
        modules = list(model.named_modules())
        layers = [layer for layer, module in modules if isinstance(module, nn.Linear)]
        layers = layers or [layer for layer, module in modules if isinstance(module, nn.Conv2d)]
        _drop_in_blocks(model, config)
        return model, layers[-1]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        weights = self._weights(name)
        size = weights.meta.get("_file_size")
        path = hub_file(f"torchvision:{name}", weights.url, _digest(weights), size)
        state = read_state(path)
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
        import torchvision.models

        return torchvision.models.get_model_weights(name).DEFAULT

    def _weights_in(self, name: str, file: Path) -> tuple[Any, bool]:
        """Return torchvision's weights that `file` holds and True, or the default and False."""
        import torchvision.models

        own = sha256(file)
        for one in torchvision.models.get_model_weights(name):
            if (digest := _digest(one)) and own.startswith(digest):
                return one, True
        return self._weights(name), False


class Timm:
    """The models of timm.

    A name may carry a weights tag, such as resnet18.a1_in1k, or be an older one (xception).
    """

    def names(self) -> list[str]:
        """See Library."""
        import timm

        return [*timm.list_models(), *timm.list_models(pretrained=True)]

    def has(self, name: str) -> bool:
        """See Library."""
        import timm

        name = self._current(name)
        return bool(timm.is_model(name)) and (
            "." not in name or name in timm.list_models(pretrained=True)
        )

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        settings = self._settings(name)
        return Pretraining(settings.input_size[-1], tuple(settings.mean), tuple(settings.std))

    def tag(self, name: str) -> str:
        """See Library."""
        return str(self._settings(name).tag or "")

    def channels(self, _data_channels: int) -> int:
        """See Library."""
        return 3

    def create(self, name: str, config: TrainConfig, shape: DataShape) -> tuple[nn.Module, str]:
        """See Library."""
        import timm

        name = self._current(name)
        arguments = {"num_classes": shape.classes, **self._size_argument(name, shape.image_size)}
        model = _build(
            name,
            lambda **more: timm.create_model(name, **arguments, **more),
            "drop_rate",
            config.dropout,
        )
        head = model.get_classifier()
        names = [layer for layer, module in model.named_modules() if module is head]
        if not names or not any(True for _ in head.parameters()):
            raise ValueError(
                f"model = 'timm:{name}': it has no single last layer that could be trained anew"
            )
        _drop_in_blocks(model, config)
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
        if settings.hf_hub_id or not settings.custom_load:
            # Raises where the file holds code, which older releases of timm would run. Files with a
            # custom loader are numpy's, and are read without pickles.
            read_state(path)
        try:  # timm itself fits its weights to the image size and the model's layout
            model = timm.create_model(
                name,
                pretrained=True,
                pretrained_cfg_overlay={"file": str(path), **changes},
                num_classes=settings.num_classes,
                **self._size_argument(name, image_size),
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: not the weights of timm:{name}: {reason}") from None
        return model.state_dict(), path

    def published(self, name: str, file: Path | None) -> Published:
        """See Library. Images have the size that timm's own validation takes."""
        import timm
        from timm.data import infer_imagenet_subset, resolve_data_config

        name = self._current(name)
        settings = self._settings(name).to_dict()
        subset = infer_imagenet_subset(settings)
        if subset is None:
            count = settings.get("num_classes")
            raise ValueError(
                f"model = 'timm:{name}': timm does not say what its {count} classes are"
            )
        images = resolve_data_config(pretrained_cfg=settings, use_test_size=True)
        size = images["input_size"][-1]
        arguments = {"num_classes": settings["num_classes"], **self._size_argument(name, size)}
        model = timm.create_model(name, **arguments)
        state, path = (read_state(file), file) if file else self.imagenet(name, size)
        load_whole(model, state, path)
        return Published(
            model=model.eval(),
            origin=str(path),
            categories=imagenet_categories(subset),
            preprocessing=Preprocessing.of_timm(images),
        )

    def _settings(self, name: str) -> Any:
        from timm.models import get_pretrained_cfg

        return get_pretrained_cfg(self._current(name))

    def _current(self, name: str) -> str:
        """Return timm's present name of the model."""
        from timm.models import get_deprecated_models

        return get_deprecated_models().get(name) or name

    def _size_argument(self, name: str, image_size: int) -> dict[str, int]:
        return {"img_size": image_size} if self._settings(name).fixed_input_size else {}


def _digest(weights: Any) -> str | None:
    """Return the first digits of the SHA-256 of torchvision's file, which its name has."""
    digest = re.search(r"-([a-f0-9]{8,})\.", weights.url)
    return digest[1] if digest else None


def _build(name: str, builder: Callable[..., Any], keyword: str, dropout: float) -> Any:
    """Return the model with this dropout; a model without the keyword must be given 0."""
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


def _drop_in_blocks(model: nn.Module, config: TrainConfig) -> None:
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
