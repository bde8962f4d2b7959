"""The options of own parts: a mapping such as {"model.width": 2}, as a config holds it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fieldtrial.fields.values import check_type, is_writable, parse
from fieldtrial.own.names import KINDS, is_option, kind_of, own_of

PLAIN = (bool, int, float, str)  # types of values; lists of them, too
MOST = 100  # of a config: each is a column of tables


class Options(Mapping[str, Any]):
    """Options by their names, in the order of these. They cannot be changed; lists become tuples.

    Two are equal where their JSON is, in which 1 and 1.0 and true are three values.

    Raises:
        ValueError: a name that is no option's, or a value of another type; all at once.
    """

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        problems = [problem for name, value in (values or {}).items()
                    if (problem := _problem(name, value))]  # fmt: skip
        if len(values or ()) > MOST:
            problems = [f"options: {len(values or ()):,}; there must be at most {MOST}"]
        if problems:
            raise ValueError("\n".join(problems))
        self._values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in sorted((values or {}).items())
        }
        self._text = json.dumps(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Options):
            return self._text == other._text
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return self == Options(other)
        except ValueError:
            return False

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return repr(self._values)

    def of(self, kind: str) -> dict[str, Any]:
        """Return the options of a kind's parts, without the kind: {"width": 2}."""
        return {
            name.partition(".")[2]: value for name, value in self.items() if kind_of(name) == kind
        }

    def without(self, kind: str) -> "Options":
        """Return the options but for those of a kind's parts."""
        return Options({name: value for name, value in self.items() if kind_of(name) != kind})


def _problem(name: object, value: object) -> str:
    if not isinstance(name, str) or not is_option(name):
        return f"options {name!r}: must be PART.NAME, where PART is one of {', '.join(KINDS)}"
    items = value if isinstance(value, list | tuple) else (value,)
    if not all(one is None or isinstance(one, PLAIN) for one in items):
        return f"{name} = {value!r}: must be a number, a text, true, false or none, or several"
    for item in items:
        try:
            if isinstance(item, str) and not is_writable(item):
                raise ValueError("must be text that UTF-8 can write")
            if type(item) in (int, float):
                check_type(item, type(item))
        except ValueError as error:
            return f"{name} = {value!r}: {error}"
    return ""


def option_problems(config: Any) -> list[str]:
    """Return a line for each option of a config whose kind of part is not own."""
    return [
        f"{name} = {value!r}: {kind} = {getattr(config, kind)!r} takes no options; only your own"
        " parts do, package.module:name"
        for name, value in config.options.items()
        if not own_of(getattr(config, kind := kind_of(name)))
    ]


def carried_over(config: Any, values: Mapping[str, object]) -> Options:
    """Return a config's options that stay where fields get `values`: not those of other parts."""
    options: Options = config.options
    for kind in {kind_of(name) for name in options}:
        if kind in values and not set(own_of(getattr(config, kind))) <= set(own_of(values[kind])):
            options = options.without(kind)
    return options


def plain(text: str) -> Any:
    """Return the value that a text of a command line stands for, where no type says it."""
    if text in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text]
    for hint in (int, float):
        try:
            return check_type(parse(text, hint), hint)
        except ValueError:
            continue
    return tuple(map(plain, text.split(","))) if "," in text else text


def typed(value: Any, hint: Any) -> Any:
    """Return an option's value as its type, None for one that says none. Raises ValueError."""
    if hint is None:
        return plain(value) if isinstance(value, str) else value
    return parse(value, hint) if isinstance(value, str) else check_type(value, hint)
