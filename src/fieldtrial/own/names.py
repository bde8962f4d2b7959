"""Own parts: the names of a user's code, such as nets:MyNet, and the fields that take them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# What stands before a colon in other values of the fields: libraries, kinds of data and weights,
# and freezing schemes. No module of these names can be named.
RESERVED = frozenset(
    {
        *("timm", "torchvision", "darknet", "folder", "boxes", "run", "imagenet"),
        *("none", "all_but_head", "all_but_last", "first", "backbone", "pattern", "only"),
        *("block", "probe_then_all", "gradual", "lora"),
    }
)
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
RULE = "package.module:name of your own code"
# Each kind of part is the name of its field. What the program gives the callable by position; all
# further parameters are its options, but for those in BY_NAME and ASKED_FOR.
KINDS: Mapping[str, tuple[str, ...]] = {
    "model": ("shape",),
    "dataset": ("root",),
    "loss": ("outputs", "targets"),
    "augmentation": ("images", "generator"),
    "optimizer": ("parameters",),
    "schedule": ("moment",),
    "metrics": ("outputs", "targets"),
    "freeze": ("model", "units"),
}
# What it gives by the parameters' names, and what only to those that have such a parameter.
BY_NAME: Mapping[str, tuple[str, ...]] = {"optimizer": ("lr", "weight_decay")}
ASKED_FOR: Mapping[str, tuple[str, ...]] = {"loss": ("features",)}
OPTION = re.compile(rf"({'|'.join(KINDS)})\.([A-Za-z_]\w*)", re.ASCII)


def is_own(text: str) -> bool:
    """Return whether a value of a field names a part of a user's own code."""
    return NAME.fullmatch(text) is not None and text.partition(":")[0] not in RESERVED


def own_of(value: object) -> tuple[str, ...]:
    """Return the own parts that a field's value, a text or several, names."""
    values = value if isinstance(value, tuple | list) else (value,)
    return tuple(one for one in values if isinstance(one, str) and is_own(one))


def own_parts(config: Any) -> dict[str, tuple[str, ...]]:
    """Return the names of a config's own parts by their kinds, of the kinds that it has any of."""
    found = {kind: own_of(getattr(config, kind)) for kind in KINDS}
    return {kind: names for kind, names in found.items() if names}


def is_option(name: str) -> bool:
    """Return whether `name` may be an option of an own part, such as model.width."""
    return OPTION.fullmatch(name) is not None


def kind_of(option: str) -> str:
    """Return the kind of part that an option is of; a field's name stays as it is."""
    return option.partition(".")[0]


def said(parts: Mapping[str, Sequence[str]]) -> str:
    """Return own parts as a message names them: 'model = nets:MyNet, loss = losses:focal'."""
    return ", ".join(f"{kind} = {name}" for kind, names in parts.items() for name in names)
