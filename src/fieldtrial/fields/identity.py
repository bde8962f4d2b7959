"""What makes two configs one: equality, ids and differences."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import fields
from functools import cache
from typing import Any, Self

from fieldtrial.fields.former import FORMER, SAME

OPTIONS = "options"  # the field with the options of own parts
REPEATED = ("seed", "fold")  # what the runs of one configuration may differ in


class Identity:
    """A config that equals another where both mean the same; TrainConfig derives from it.

    `cnn` has no dropout by default, so dropout none is 0 there.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._meanings == other._meanings

    def __hash__(self) -> int:
        return hash(tuple(self._meanings.values()))

    def __setstate__(self, state: dict[str, Any]) -> None:
        # of an earlier version's engine.state
        self.__dict__.update({**self._defaults, **FORMER, **state})

    @property
    def _defaults(self) -> dict[str, Any]:
        kind: Any = type(self)
        return _defaults(kind)

    @property
    def _meanings(self) -> dict[str, Any]:
        """The values of all fields; a present default that means the former one is that."""
        values = {name: getattr(self, name) for name in self._defaults}
        return values | {name: self._meaning(name, values[name]) for name in SAME}

    def _meaning(self, name: str, value: Any) -> Any:
        """Return what a value of the field `name` means beside the config's other fields."""
        if name in SAME and value == self._defaults[name] and SAME[name](self):
            return FORMER[name]
        return value

    @property
    def id(self) -> str:
        """Eight hexadecimal digits, hashed from the fields that differ from their first defaults.

        So neither a new field nor a new default changes the id of an existing run.
        """
        return self._digest()

    @property
    def configuration(self) -> str:
        """The id with the default seed and fold: equal for all runs of one configuration."""
        return self._digest(REPEATED)

    def _digest(self, without: Collection[str] = ()) -> str:
        kind: Any = type(self)
        first = _first_defaults(kind)
        differing = {
            name: value
            for name, value in self._meanings.items()
            if value != first[name] and name not in without
        }
        text = json.dumps(differing, sort_keys=True, default=dict)  # options are a mapping
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def differences(self, other: Self) -> dict[str, tuple[Any, Any]]:
        """Return {field: (own value, other's value)} for the fields that differ in meaning.

        That is the meaning beside the other fields of either config. Each option is a field.
        """
        names = [name for name in self._defaults if name != OPTIONS]
        names += sorted({*getattr(self, OPTIONS), *getattr(other, OPTIONS)})
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {
            name: pair
            for name, pair in pairs.items()
            if pair[0] != pair[1] and any(one._tells_apart(name, *pair) for one in (self, other))
        }

    def _tells_apart(self, name: str, value: Any, other: Any) -> bool:
        """Return whether two values of the field `name` mean two things beside the others."""
        return bool(self._meaning(name, value) != self._meaning(name, other))

    def former_defaults(self, earlier: Self) -> dict[str, Any]:
        """Return the former defaults that `earlier` has where the config has the present ones."""
        present = self._defaults
        return {
            name: former
            for name, former in FORMER.items()
            if getattr(self, name) == present[name] and getattr(earlier, name) == former
        }


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    return {item.name: item.default for item in fields(kind)}


@cache
def _first_defaults(kind: Any) -> dict[str, Any]:
    return {**_defaults(kind), **FORMER}
