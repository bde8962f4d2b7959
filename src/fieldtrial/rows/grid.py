"""grid: the rows of a sweep, one for each combination of choices."""

import itertools
import typing
from collections.abc import Iterable, Set

from fieldtrial.config import HINTS, ConfigError
from fieldtrial.own.names import is_option


def grid(**choices: object) -> list[dict[str, object]]:
    """Return one row for each combination of the choices, the last field changing fastest.

    A list, a range or another collection with an order has the choices. A text, a number or None is
    the only one, and so is a tuple for a field that takes several numbers, filters=(16, 32), and
    for an option.

    Raises ConfigError if the choices are a set, whose order is another one in each process.
    """
    combinations = itertools.product(*(_choices(*choice) for choice in choices.items()))
    return [dict(zip(choices, values, strict=True)) for values in combinations]


def _choices(name: str, value: object) -> list[object]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [value]
    if isinstance(value, Set):
        rule = "must be a list, so that the rows have an order"
        raise ConfigError([f"{name} = {value!r}: {rule}"], "grid")
    values = list(value)
    is_flat = not any(isinstance(one, list | tuple) for one in values)
    takes_several = is_option(name) or typing.get_origin(HINTS.get(name)) is tuple
    return [value] if isinstance(value, tuple) and takes_several and is_flat else values
