"""The parameters of a library's model that follow the number of classes."""

import math
from functools import cache

import torch
from torch import nn

from fieldtrial.training.models.network import Network

# A last layer whose weights spread so many times as much as PyTorch would draw them is told of.
WIDE = 4.0
SHOWN = 3  # parameters that a message names


def require_one_head(model: str, head: str, arguments: tuple[tuple[str, object], ...]) -> None:
    """Raise ValueError if parameters outside of the layer `head` follow the number of classes.

    They would stay drawn and frozen where all but the head is frozen, and ImageNet's would not fit.

    Args:
        model: timm:NAME, for timm and for the message.
        head: dotted name of the last layer.
        arguments: of timm.create_model, beside the number of classes.
    """
    others = [name for name in _following(model, arguments) if not name.startswith(f"{head}.")]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise ValueError(
            f"model = {model!r}: has a second classifier beside its last layer {head}:"
            f" {', '.join(others[:SHOWN])}{more}; it has no single last layer that could be trained"
            " anew"
        )


def head_entries(network: Network) -> dict[str, float]:
    """Return how wide the last layer was drawn, as an entry of result.json, where it is too wide.

    It is the deviation of its weights over that of PyTorch's own, 1 / sqrt(3 × inputs). timm's and
    torchvision's EfficientNets and timm's MobileNetV3 draw it by the number of classes alone: with
    1,000 it is 1.1, with 2 it is 25, and the loss starts far above that of guessing.
    """
    head = network.get_submodule(network.head)
    if not isinstance(head, nn.Linear) or head.weight.is_meta or head.weight.numel() < 2:
        return {}
    width = float(head.weight.detach().std()) * math.sqrt(3 * head.in_features)
    return {"head_width": round(width, 2)} if width > WIDE else {}


@cache
def _following(model: str, arguments: tuple[tuple[str, object], ...]) -> list[str]:
    """Return the parameters and buffers whose shape differs between 2 and 3 classes, or is new."""
    import timm

    name = model.partition(":")[2]
    with torch.device("meta"):
        states = [
            timm.create_model(name, num_classes=count, **dict(arguments)).state_dict()
            for count in (2, 3)
        ]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    names = shapes[0].keys() | shapes[1].keys()
    return sorted(name for name in names if shapes[0].get(name) != shapes[1].get(name))
