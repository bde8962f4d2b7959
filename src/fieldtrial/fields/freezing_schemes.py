"""The values of the field `freeze`: their grammar and their help, without torch.

The function that computes what a scheme freezes has its name in training/freezing/schemes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fieldtrial.own.names import RULE as OWN_RULE

MOST_CHARACTERS = 1000  # of a pattern


@dataclass(frozen=True)
class Scheme:
    """A scheme.

    Attributes:
        argument: what follows its colon, a key of ARGUMENTS.
        freezes: its help.
        is_fixed: whether it freezes layers whose output is the same in all epochs.
    """

    argument: str
    freezes: str
    is_fixed: bool = True


def _is_pattern(text: str) -> bool:
    """Return whether Python can read the pattern: what it can, earlier versions have searched for.

    `compile_pattern` is stricter.
    """
    if not 0 < len(text) <= MOST_CHARACTERS:
        return False
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


# Python and RE2 read these in different ways: as {0,N} or as text, as a set or as a class.
AMBIGUOUS = ("{,", "[:")


def compile_pattern(text: str) -> Any:
    """Return a pattern of the scheme `pattern`; its method `search` takes a parameter's name.

    A search takes time in proportion to the name, because RE2 searches by automata (Cox 2007,
    Regular Expression Matching Can Be Simple And Fast): no pattern keeps a process busy for hours.

    Raises:
        ValueError: RE2 cannot search for it: it has no look-around and no references to groups.
    """
    import re2  # late: what reads configs does not search

    options = re2.Options()
    options.log_errors = False  # they are raised
    try:
        if found := [part for part in AMBIGUOUS if part in text]:
            raise re2.error(f"{found[0]} has more than one meaning")
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode() if isinstance(reason, bytes) else reason
        raise ValueError(
            f"freeze = {'pattern:' + text!r}: RE2 cannot search for this pattern ({reason}); it"
            " has no look-around (?=…) (?!…) (?<=…) (?<!…) and no references to groups"
        ) from None


ARGUMENTS: dict[str, Callable[[str], bool]] = {
    "": lambda text: not text,
    "K": lambda text: bool(re.fullmatch(r"[1-9][0-9]{0,8}", text)),
    "R": lambda text: bool(re.fullmatch(r"[1-9][0-9]{0,3}", text)),
    "REGEX": _is_pattern,
    "NAME": lambda text: bool(re.fullmatch(r"\w[\w.]*", text)),
}
SCHEMES: dict[str, Scheme] = {
    "none": Scheme("", "nothing", is_fixed=False),
    "all_but_head": Scheme("", "all but the head, which is the last layer"),
    "all_but_last": Scheme("K", "all but the last K units"),
    "first": Scheme("K", "the first K units"),
    "backbone": Scheme("", "a detector's layers before those that only detection needs"),
    "pattern": Scheme("REGEX", "the parameters in whose names REGEX, of RE2's kind, is found"),
    "only": Scheme(
        "NAME",
        "all but the head and NAME: a module (layer3), convolutions, batch_norm, norms, biases or"
        " downsampling",
    ),
    "block": Scheme("K", "all but the head and the K-th unit"),
    "probe_then_all": Scheme("K", "for K epochs all but the head, then nothing", is_fixed=False),
    "gradual": Scheme(
        "K",
        "all but the head, and after each K epochs one unit less, the last first",
        is_fixed=False,
    ),
    "lora": Scheme(
        "R",
        "all but the head; a trainable product of two matrices of rank R is added to each linear"
        " layer and convolution",
        is_fixed=False,
    ),
}
FORMS = [f"{name}:{one.argument}" if one.argument else name for name, one in SCHEMES.items()]
NOT_FIXED = [form for form, one in zip(FORMS, SCHEMES.values(), strict=True) if not one.is_fixed]
RULE = f"must be {', '.join(FORMS)}, or {OWN_RULE}"
HELP = "what is frozen; " + "; ".join(
    f"{form}: {scheme.freezes}" for form, scheme in zip(FORMS, SCHEMES.values(), strict=True)
)
HELP += "; package.module:name: your own scheme"


def is_fixed(text: str) -> bool:
    """Return whether a value of `freeze` freezes layers whose output is the same in all epochs."""
    name = text.partition(":")[0]
    return name not in SCHEMES or SCHEMES[name].is_fixed


def keeps_its_parameters(text: str) -> bool:
    """Return whether the same parameters train in all epochs, and are those of the model's weights.

    `text` is a value of `freeze`.
    """
    return text == "none" or is_fixed(text)


def is_scheme(text: str) -> bool:
    """Return whether `text` is a value of the field `freeze`."""
    name, colon, argument = text.partition(":")
    if name not in SCHEMES or bool(colon) != bool(argument):
        return False
    return ARGUMENTS[SCHEMES[name].argument](argument)
