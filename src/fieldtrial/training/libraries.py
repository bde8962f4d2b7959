"""The model libraries, torchvision and timm, behind one interface; each is imported only when it is asked."""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from fieldtrial.training.weights import read_state

CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Pretraining:
    """What a library's ImageNet weights expect of images: their side in pixels, and the normalisation per channel."""

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

    def create(self, name: str, classes: int, image_size: int, dropout: float) -> tuple[nn.Module, str]:
        """Return the model with freshly drawn weights, and the dotted name of its last layer.

        Raises:
            ValueError: it has no dropout to set, or no last layer of its own.
        """

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """Return the model's ImageNet weights, fitted to images of `image_size` pixels, and the file they come from.

        Raises:
            ValueError: the file is not here and cannot be fetched; the message says which file, and where to put it.
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

    def create(self, name: str, classes: int, image_size: int, dropout: float) -> tuple[nn.Module, str]:
        """See Library. Where torchvision's dropout is that of all layers (vit, swin), so it is here."""
        import torchvision.models

        builder = torchvision.models.get_model_builder(name)
        arguments: dict[str, Any] = {"weights": None, "num_classes": classes}
        if name.startswith("vit_"):
            arguments["image_size"] = image_size
        elif name == "maxvit_t":
            arguments["input_size"] = (image_size, image_size)
        elif name in ("googlenet", "inception_v3"):
            # transform_input turns the ImageNet normalisation into the one their weights were trained with
            arguments |= {"aux_logits": False, "init_weights": True, "transform_input": True}
        model = _build(name, lambda **extra: builder(**arguments, **extra), "dropout", dropout)
        layers = [layer for layer, module in model.named_modules() if isinstance(module, nn.Linear)]
        layers = layers or [layer for layer, module in model.named_modules() if isinstance(module, nn.Conv2d)]
        return model, layers[-1]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        url = self._weights(name).url
        digest = re.search(r"-([a-f0-9]{8,})\.", url)
        path = _hub_file(f"torchvision:{name}", url, digest[1] if digest else None)
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
    """The models of timm; a name may carry a weights tag, such as resnet18.a1_in1k."""

    def has(self, name: str) -> bool:
        """See Library."""
        import timm

        return bool(timm.is_model(name)) and ("." not in name or name in timm.list_models(pretrained=True))

    def names(self) -> list[str]:
        """See Library."""
        import timm

        return [*timm.list_models(), *timm.list_models(pretrained=True)]

    def pretraining(self, name: str) -> Pretraining:
        """See Library."""
        settings = self._settings(name)
        return Pretraining(settings.input_size[-1], tuple(settings.mean), tuple(settings.std))

    def create(self, name: str, classes: int, image_size: int, dropout: float) -> tuple[nn.Module, str]:
        """See Library."""
        import timm

        arguments = {"num_classes": classes, **self._size_arguments(name, image_size)}
        model = _build(name, lambda **extra: timm.create_model(name, **arguments, **extra), "drop_rate", dropout)
        head = model.get_classifier()
        names = [layer for layer, module in model.named_modules() if module is head]
        if not names or not any(True for _ in head.parameters()):
            raise ValueError(f"model = 'timm:{name}': it has no single last layer that could be trained anew")
        return model, names[0]

    def imagenet(self, name: str, image_size: int) -> tuple[dict[str, Tensor], Path]:
        """See Library."""
        import timm

        settings = self._settings(name)
        if settings.hf_hub_id:
            path, changes = _hugging_face_file(f"timm:{name}", settings), {"custom_load": False}
        elif settings.url:
            path, changes = _hub_file(f"timm:{name}", settings.url), {}
        else:
            raise ValueError(f"weights = 'imagenet': timm has no pretrained weights of {name}")
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

        return get_pretrained_cfg(name)

    def _size_arguments(self, name: str, image_size: int) -> dict[str, int]:
        return {"img_size": image_size} if self._settings(name).fixed_input_size else {}


LIBRARIES: dict[str, Library] = {"torchvision": Torchvision(), "timm": Timm()}


def _build(name: str, builder: Callable[..., Any], keyword: str, dropout: float) -> Any:
    """Return the model with this dropout; without it, where the library knows none and none is wanted."""
    try:
        return builder(**{keyword: dropout})
    except TypeError as error:
        if f"'{keyword}'" not in str(error):
            raise
    if dropout:
        raise ValueError(f"dropout = {dropout}: {name} has none that could be set; it must be 0 for this model")
    return builder()


def _hub_file(model: str, url: str, digest: str | None = None) -> Path:
    """Return the file of `url` in torch's checkpoint folder, fetched if need be (its SHA-256 starts with `digest`)."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        try:
            _require_answer(url)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digest, progress=False)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            raise ValueError(
                f"weights = 'imagenet': {model} needs {path.name}, and fetching {url} failed ({error}); "
                f"put the file at {path}"
            ) from None
    return path


def _hugging_face_file(model: str, settings: Any) -> Path:
    """Return the weights file of a timm model in the Hugging Face cache, fetched if need be."""
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    names = [settings.hf_hub_filename] if settings.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    for name in names:
        cached = try_to_load_from_cache(settings.hf_hub_id, name)
        if isinstance(cached, str):
            return Path(cached)
    reason: Exception | None = None
    for name in names:
        try:
            _require_answer(hf_hub_url(settings.hf_hub_id, name))
            return Path(hf_hub_download(settings.hf_hub_id, name))
        except (OSError, http.client.HTTPException) as error:
            reason = error
            if not isinstance(error, EntryNotFoundError) or isinstance(error, LocalEntryNotFoundError):
                break  # only where the repository has no such file is the next name of use
    folder = Path(constants.HF_HUB_CACHE) / f"models--{settings.hf_hub_id.replace('/', '--')}"
    raise ValueError(
        f"weights = 'imagenet': {model} needs {names[0]} of {settings.hf_hub_id}, and fetching it failed ({reason}); "
        f"run `hf download {settings.hf_hub_id} {names[0]}` where there is a network and copy the folder that it "
        f"makes to {folder}, or give the file's path as weights"
    )


def _require_answer(url: str) -> None:
    """Raise OSError at once where nobody answers: the libraries' own downloads wait and try again for minutes."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=CONNECT_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # an answer; what it means is for the download to find out
