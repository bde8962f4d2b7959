"""A classifier as it was published: with its last layer, its classes and its preprocessing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor, nn

from fieldtrial.training.models.categories import Category


@dataclass(frozen=True)
class Preprocessing:
    """What a library does to images before its model: `text` says it in words.

    Attributes:
        apply: from an RGB image to a normalised float tensor (3, h, w).
    """

    apply: Callable[[Image.Image], Tensor]
    text: str

    @classmethod
    def of_torchvision(cls, transform: Any) -> "Preprocessing":
        """Return the preprocessing of a transform that comes with torchvision's weights."""
        text = _in_words(
            f"shorter side resized to {transform.resize_size[0]} pixels",
            transform.interpolation.value,
            transform.crop_size[0],
            (transform.mean, transform.std),
        )
        return cls(transform, text)

    @classmethod
    def of_timm(cls, settings: Mapping[str, Any]) -> "Preprocessing":
        """Return the preprocessing of a data config of timm's."""
        from timm.data import create_transform

        size = settings["input_size"][-1]
        resized = int(size / settings["crop_pct"])
        text = _in_words(
            {
                "center": f"shorter side resized to {resized} pixels",
                "squash": f"both sides resized to {resized} pixels",
                "border": f"longer side resized to {resized} pixels, with a border",
            }[settings["crop_mode"]],
            settings["interpolation"],
            size,
            (settings["mean"], settings["std"]),
        )
        return cls(create_transform(**settings), text)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published classifier.

    Attributes:
        model: on the CPU, in evaluation mode; from normalised images (n, 3, h, w) to logits.
        origin: which weights these are, in words.
        categories: its classes, in the order of the logits.
        preprocessing: that of the library's own evaluation.
        figures: what the library says of its weights on ImageNet's 50,000 validation images, as
            shares: accuracy and top5_accuracy; empty where it says nothing.
        figures_of: the weights that the figures are of, if not these; else empty.
    """

    model: nn.Module
    origin: str
    categories: tuple[Category, ...]
    preprocessing: Preprocessing
    figures: Mapping[str, float] = field(default_factory=dict)
    figures_of: str = ""


def torchvision_figures(weights: Any) -> dict[str, float]:
    """Return the `figures` of torchvision's weights."""
    values = weights.meta.get("_metrics", {}).get("ImageNet-1K", {})
    keys = {"accuracy": "acc@1", "top5_accuracy": "acc@5"}
    return {name: values[key] / 100 for name, key in keys.items() if key in values}


def _in_words(
    resized: str, interpolation: str, crop: int, normalisation: Sequence[Sequence[float]]
) -> str:
    mean, std = (" ".join(f"{value:g}" for value in values) for values in normalisation)
    return f"{resized} ({interpolation}), centre of {crop} pixels, mean {mean}, std {std}"
