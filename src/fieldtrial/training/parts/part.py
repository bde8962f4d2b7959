"""Parts of a trial by name, of this package and of the user's own code.

All parts of a kind are called in one way, which the protocol beside each registry says. What
differs between them are options: keyword parameters, whose values a config has. Those of a part of
this package are fields. Those of an own part, `package.module:name`, are its own.
(`*_` beside `**options` in a protocol says that the options of a part may have any names.)
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.own.digest import code_digest
from fieldtrial.own.load import load
from fieldtrial.own.names import is_own
from fieldtrial.training.parts.failing import Blaming
from fieldtrial.training.parts.saying import of_kind

# Fields that may name several parts, which share the options: each gets those that it takes.
SEVERAL = ("augmentation", "metrics")


@dataclass(frozen=True)
class Part:
    """A callable that a config names, with its options.

    Attributes:
        field: the field that names it.
        name: its name.
        call: the callable itself.
        options: the values of its keyword parameters.
    """

    field: str
    name: str
    call: Callable[..., Any]
    options: Mapping[str, Any]

    def __call__(self, *given: Any, **more: Any) -> Any:
        """Return what the callable does for `given`, with its options and `more`.

        Raises:
            OwnCodeError: it is the user's own, and has raised something; see `Blaming`.
        """
        with self.blaming():
            return self.call(*given, **self.options, **more)

    def blaming(self, on: str = "") -> Blaming:
        """Return a context in which the part computes; see `Blaming`."""
        return Blaming(self.field, self.name, on)

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own."""
        return is_own(self.name)

    @property
    def identity(self) -> str:
        """What decides what it computes: name, options and code; "" for one of this package."""
        if not self.is_own:
            return ""
        return f"{self.name} {sorted(self.options.items())} {code_digest(self.name)}"

    def refused(self, problem: str) -> ConfigError:
        """Return the error about what it gave, or what it did."""
        return ConfigError([f"{self.field} = {self.name!r}: {problem}"])

    def unexpected(self, found: object, expected: str) -> ConfigError:
        """Return the error about `found`, which it gave, where something else was expected."""
        return self.refused(f"gave {of_kind(found)}, {expected} was expected")


def part_of(
    field: str, name: str, config: TrainConfig, known: Mapping[Any, Callable[..., Any]]
) -> Part:
    """Return the part `name` of the kind that `field` names: of `known`, or an own part.

    Raises:
        ValueError: an own part cannot be imported; see `own.load`.
    """
    if is_own(name):
        return own_part(field, name, config.options_of(field))
    call = known[name]
    return Part(field, name, call, {option: getattr(config, option) for option in _keywords(call)})


def own_part(field: str, name: str, options: Mapping[str, Any]) -> Part:
    """Return the own part `name`, with these options. Raises as `part_of`."""
    call = _loaded(field, name)
    if field in SEVERAL and (taken := _parameters(call)) is not None:
        options = {option: value for option, value in options.items() if option in taken}
    return Part(field, name, call, options)


def identity_of(field: str, config: TrainConfig) -> str:
    """Return `Part.identity` of all parts that `field` names, or "" without an own one."""
    value = getattr(config, field)
    names = value if isinstance(value, tuple) else (value,)
    own = [own_part(field, one, config.options_of(field)) for one in names if is_own(one)]
    return " ".join(part.identity for part in own)


@functools.cache  # a schedule is asked for in each step
def _loaded(field: str, name: str) -> Callable[..., Any]:
    return load(field, name)


@functools.cache
def _keywords(call: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters that can only be given by name."""
    parameters = inspect.signature(call).parameters.values()
    return tuple(one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)


def _parameters(call: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the parameters; None where the callable takes any."""
    known = inspect.signature(call).parameters
    is_open = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    return None if is_open else frozenset(known)
