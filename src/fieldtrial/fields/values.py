"""Values of typed fields: parsed from flags and JSON, checked, and written back as text."""

import functools
import math
import sys
import types
import typing
from typing import Annotated, Any, Literal

from fieldtrial.own.names import RULE, is_own

# The type of a value that names a user's own part; beside a Literal, one more choice.
Own = Annotated[str, "own"]
LARGEST = 2**63 - 1  # that a column of a table can hold


def format_value(value: object) -> str:
    """Return `value` as a command line has it; the inverse of `parse`."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ",".join(format_value(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_same(value: object, there: object) -> bool:
    """Return whether a value is that of a config already, a list in place of a tuple too."""
    if type(value) is list and type(there) is tuple and len(value) == len(there):
        return all(map(is_same, value, there))
    return type(value) is type(there) and value == there


def parse(text: str, hint: Any) -> Any:
    """Return `text` as a value of type `hint`. Raises ValueError with the rule."""
    kind, arguments = _form(hint)
    if hint == Own or (kind in UNIONS and Own in arguments):
        return check_type(text, hint)
    if kind in UNIONS:
        return None if text == "none" else parse(text, arguments[0])
    if kind is tuple:
        return check_type([parse(part, arguments[0]) for part in _listed(text)], hint)
    if hint is bool:
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise ValueError(f"must be {_NAMES[hint]}") from None
    return check_type(text, hint)


UNIONS = (types.UnionType, typing.Union)


@functools.cache  # a table of a large sweep asks for hundreds of thousands
def _form(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what kind of type `hint` is, and its arguments."""
    return typing.get_origin(hint), typing.get_args(hint)


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check_type(value: Any, hint: Any) -> Any:
    """Return `value` as the type `hint`: lists as tuples, ints as floats. Raises ValueError.

    Where a list of any length is taken, a single value is a list of one.
    """
    kind, arguments = _form(hint)
    if hint == Own or (kind in UNIONS and Own in arguments):
        return _check_own(value, arguments[0])
    if kind in UNIONS:
        return None if value is None else check_type(value, arguments[0])
    if kind is Literal:
        if value not in arguments:
            raise ValueError(f"must be one of {', '.join(arguments)}")
        return value
    if kind is dict:
        if not isinstance(value, dict):
            raise ValueError("must be a table")
        return {name: check_type(item, arguments[1]) for name, item in value.items()}
    if kind is tuple:
        if arguments[-1] is Ellipsis and isinstance(value, str) and arguments[0] is not str:
            value = [parse(one, arguments[0]) for one in _listed(value)]
        elif arguments[-1] is Ellipsis and isinstance(value, str | int | float):
            value = [value]
        if not isinstance(value, list | tuple):
            raise ValueError("must be a list")
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise ValueError(f"must have {len(arguments)} values")
        return tuple(check_type(item, arguments[0]) for item in value)
    if hint is float and type(value) is int:
        # float() of a larger number raises OverflowError
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if type(value) is not hint:
        if hint is str and isinstance(value, bool | int | float):
            raise ValueError(f'must be text, in quotes: "{format_value(value)}"')
        raise ValueError(f"must be {_NAMES[hint]}")
    if hint is int and not -LARGEST <= value <= LARGEST:
        raise ValueError("must be below 2^63")
    if hint is str and not is_writable(value):
        raise ValueError("must be text that UTF-8 can write")
    if hint is float and not math.isfinite(value):
        raise ValueError("must be finite")
    return value + 0.0 if hint is float else value  # -0.0 becomes 0.0: equal configs have equal ids


def _check_own(value: Any, others: Any) -> Any:
    """Return a value that names an own part, or is one of the `others`, which may be no choices."""
    if isinstance(value, str) and is_own(value):
        return value
    if not choices(others):
        raise ValueError(f"must be {RULE}")
    try:
        return check_type(value, others)
    except ValueError as error:
        raise ValueError(f"{error}, or {RULE}") from None


def _listed(text: str) -> list[str]:
    return [] if text == "none" else [part.strip() for part in text.split(",")]


def check_bounds(value: Any, low: float | None, high: float | None) -> None:
    """Raise ValueError if `value`, or a number in it, is below `low` or above `high`."""
    for item in value if isinstance(value, tuple) else (value,):
        if item is None or isinstance(item, str):
            continue
        if low is not None and item < low:
            raise ValueError(f"must be at least {low:g}")
        if high is not None and item > high:
            raise ValueError(f"must be at most {high:g}")


def choices(hint: Any) -> tuple[str, ...]:
    """Return the choices of a field of type `hint`; empty if it has none."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return choices(typing.get_args(hint)[0]) if typing.get_args(hint) else ()


def is_writable(text: str) -> bool:
    """Return whether UTF-8 can write `text`: a file name of other bytes is text that it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_numeric(value: object) -> bool:
    """Return whether `value` is a number or a non-empty list of numbers."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_numeric, value))
    return isinstance(value, int | float) and not isinstance(value, bool)
