"""The fields of TrainConfig as command-line flags, and as the page docs/fields.md.

python -m fieldtrial.flags > docs/fields.md
"""

import argparse
import typing
from collections.abc import Iterable
from typing import Any

from fieldtrial.config import FIELDS, HINTS
from fieldtrial.effects import condition_text
from fieldtrial.fields.groups.group import GROUPS
from fieldtrial.fields.values import UNIONS, Own, choices, format_value
from fieldtrial.own.names import KINDS, RULE
from fieldtrial.own.parser import Parser

PAGE = """# Fields

Every field of a trial's configuration (`TrainConfig`). A sweep file sets them in `base`, `rows`
and `search`, `--set FIELD=VALUE` in a sweep's command, and `--FIELD VALUE` in `fieldtrial train`. A
list is written `a,b,c` on a command line, an empty list and no value `none`.

A field with an entry under "has an effect with" has none otherwise: in a sweep, such a field in a
row or in the search is an error, and `fieldtrial train` prints a warning.

`model`, `dataset`, `augmentation`, `loss`, `optimizer`, `schedule`, `metrics` and `freeze` also
take parts [of your own](extend.md), named `package.module:name`. Their options are fields, too:
`model.width` in rows, search and tables, `--model.width 2` on a command line. Names and types are
those of the callable's parameters.

This page is generated: `python -m fieldtrial.flags > docs/fields.md`.
"""
COLUMNS = ("field", "type", "default", "bounds", "choices", "has an effect with", "meaning")
TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def add_flags(parser: argparse.ArgumentParser, names: Iterable[str] = FIELDS) -> None:
    """Add a flag for each field in `names` to `parser`, in groups.

    Flags that are not given stay out of the namespace. A parser of `own.parser` takes options of
    the parts among `names`, too.
    """
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for name in names:
        item = FIELDS[name]
        text = item.metadata["help"]
        if allowed := choices(HINTS[name]):
            text += f" ({', '.join(allowed)}{f', or {RULE}' if _takes_own(HINTS[name]) else ''})"
        if condition := condition_text(name):
            text += f"; needs {condition}"
        groups[item.metadata["group"]].add_argument(
            f"--{name}",
            metavar=name.upper(),
            default=argparse.SUPPRESS,
            help=f"{text} [{format_value(item.default)}]".replace("%", "%%"),
        )
    if isinstance(parser, Parser):
        parser.kinds |= KINDS.keys() & set(names)


def fields_page() -> str:
    """Return docs/fields.md: one table per group, one row per field."""
    lines = [PAGE]
    for group in GROUPS:
        lines += [f"## {group.capitalize()}", "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
        lines += [_row(_cells(name)) for name in FIELDS if FIELDS[name].metadata["group"] == group]
        lines.append("")
    return "\n".join(lines)


def _cells(name: str) -> list[str]:
    item = FIELDS[name]
    return [
        f"`{name}`",
        _type_text(HINTS[name]),
        f"`{format_value(item.default)}`",
        _bounds_text(item.metadata["low"], item.metadata["high"]),
        ", ".join(f"`{choice}`" for choice in choices(HINTS[name]))
        + (", or your own" if choices(HINTS[name]) and _takes_own(HINTS[name]) else ""),
        condition_text(name),
        item.metadata["help"],
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type_text(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if hint == Own:
        return "own part"
    if typing.get_origin(hint) in UNIONS:
        return _type_text(arguments[0]) + ("" if Own in arguments else " or none")
    if typing.get_origin(hint) is typing.Literal:
        return "choice"
    if typing.get_origin(hint) is tuple:
        count = "list" if arguments[-1] is Ellipsis else f"list of {len(arguments)}"
        return f"{count}: {_type_text(arguments[0])}"
    return TYPES[hint]


def _takes_own(hint: Any) -> bool:
    """Return whether a field of this type takes the names of own parts."""
    return hint == Own or any(map(_takes_own, typing.get_args(hint)))


def _bounds_text(low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


if __name__ == "__main__":
    print(fields_page(), end="")
