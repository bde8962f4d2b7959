"""The values of the field `freeze`: their grammar and their help, without torch.

The function that computes what a scheme freezes has its name in training/freezing/schemes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scheme:
    """A scheme: `argument` (a key of ARGUMENTS) follows its colon; `freezes` is its help."""

    argument: str
    freezes: str


def _is_pattern(text: str) -> bool:
    try:
        return bool(re.compile(text).pattern)
    except re.error:
        return False


ARGUMENTS: dict[str, Callable[[str], bool]] = {
    "": lambda text: not text,
    "K": lambda text: bool(re.fullmatch(r"[1-9]\d*", text)),
    "REGEX": _is_pattern,
    "NAME": lambda text: bool(re.fullmatch(r"\w[\w.]*", text)),
}
SCHEMES: dict[str, Scheme] = {
    "none": Scheme("", "nothing"),
    "all_but_head": Scheme("", "all but the head, which is the last layer"),
    "all_but_last": Scheme("K", "all but the last K units"),
    "first": Scheme("K", "the first K units"),
    "pattern": Scheme("REGEX", "the parameters in whose names REGEX is found"),
    "only": Scheme(
        "NAME",
        "all but the head and NAME: a module (layer3), convolutions, batch_norm or downsampling",
    ),
}
FORMS = [f"{name}:{one.argument}" if one.argument else name for name, one in SCHEMES.items()]
RULE = f"must be {', '.join(FORMS[:-1])} or {FORMS[-1]}"
HELP = "what is frozen; " + "; ".join(
    f"{form}: {scheme.freezes}" for form, scheme in zip(FORMS, SCHEMES.values(), strict=True)
)


def is_scheme(text: str) -> bool:
    """Return whether `text` is a value of the field `freeze`."""
    name, colon, argument = text.partition(":")
    if name not in SCHEMES or bool(colon) != bool(argument):
        return False
    return ARGUMENTS[SCHEMES[name].argument](argument)
