"""What the rows of sweeps are set to, so that a table compares only what differs in its own fields.

A row's value of a field that its sweep searches is the domain: what the search found there is its
result. A row of a sweep with a source starts from that source's weights.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from fieldtrial.config import field_names
from fieldtrial.disk.sweep_description import SearchDomain, SweepDescription
from fieldtrial.fields.identity import REPEATED
from fieldtrial.fields.values import format_value
from fieldtrial.results.read.sweeps import SWEEP, Sweeps
from fieldtrial.results.read.wording import few, listed

Place = tuple[str, int]  # a sweep's name, and the number of one of its rows
Alike = frozenset[tuple[tuple[str, str], ...]]  # the settings of all rows that a group consists of
# What is tested on: scores on different data are not compared.
DATA = ("dataset", "classes", "folds")
MOST_VALUES = 6  # of a field that a line names


class RowSettings:
    """The settings of all rows of sweeps beside the fields that a table has.

    Seeds and the fold that is tested are no difference: means are taken over them. Where a table
    has the sweep itself among its fields, that stands for what was searched, and for the source of
    weights.
    """

    def __init__(self, sweeps: Sweeps, fields: Sequence[str]) -> None:
        """Read them. fields: config fields, or sweep, that the table's groups are made by."""
        rows = {
            (name, number): _values(description, number)
            for name, description in sweeps.descriptions.items()
            for number in range(len(description.rows))
        }
        known = {*REPEATED, *fields}
        if SWEEP in fields:
            has_source = any(one.source is not None for one in sweeps.descriptions.values())
            known |= {*sweeps.searched, *(["weights"] if has_source else [])}
        differing = [
            name
            for name in dict.fromkeys(itertools.chain.from_iterable(rows.values()))
            if name not in known and len({row.get(name) for row in rows.values()}) > 1
        ]
        self._rows = {
            place: tuple((name, _text(row.get(name))) for name in differing)
            for place, row in rows.items()
        }

    def of(self, places: Iterable[Place]) -> Alike:
        """Return what is equal for groups of rows with equal settings."""
        return frozenset(self._rows[place] for place in places if place in self._rows)


def apart_line(groups: Collection[Alike]) -> str:
    """Return which fields keep groups from being compared with each other, or nothing.

    A field is named if not all groups have the same values of it or, where groups have the same
    values in other combinations, if it has several.
    """
    if len({*groups}) < 2:
        return ""
    own: dict[str, set[frozenset[str]]] = {}
    for group in groups:
        for name, texts in _columns(group).items():
            own.setdefault(name, set()).add(frozenset(texts))
    several = {name: frozenset().union(*values) for name, values in own.items()}
    several = {name: texts for name, texts in several.items() if len(texts) > 1}
    named = {name: texts for name, texts in several.items() if len(own[name]) > 1} or several
    return (
        f"Not compared with each other: rows that differ in {_said(named)}, which the table has"
        " not. --rows or --columns with these compares across them, --where chooses among them."
    )


def mixed_line(groups: Collection[Alike]) -> str:
    """Return which fields differ inside of a group, or nothing."""
    found: dict[str, set[str]] = {}
    for group in groups:
        for name, texts in _columns(group).items():
            if len(texts) > 1:
                found.setdefault(name, set()).update(texts)
    if not found:
        return ""
    return (
        f"Rows of this table hold several settings of {_said(found)}: the winner is the best of"
        " them on validation."
    )


def within_line(
    fields: Sequence[str], keys: Collection[Sequence[str]], unequal: Collection[str]
) -> str:
    """Return which of a table's fields rows are compared within, or nothing.

    keys: the groups' values of `fields`. unequal: fields in which the sweeps differ as a whole.
    """
    values = {name: {key[place] for key in keys} for place, name in enumerate(fields)}
    several = {name: texts for name, texts in values.items() if len(texts) > 1}
    of_data = {name: texts for name, texts in several.items() if name in DATA}
    of_sweeps = {n: texts for n, texts in several.items() if n in unequal and n not in DATA}
    line = ""
    if of_data or of_sweeps:
        line = f"Compared only among rows with equal {_said(of_data | of_sweeps)}."
    if of_data:
        line += " Scores on different data are not compared."
    if of_sweeps:
        line += f" --rows {','.join(fields)} compares across {', '.join(of_sweeps)}."
    return line


def _columns(group: Alike) -> dict[str, set[str]]:
    columns: dict[str, set[str]] = {}
    for row in group:
        for name, text in row:
            columns.setdefault(name, set()).add(text)
    return columns


def _said(values: Mapping[str, Collection[str]]) -> str:
    """Return fields with their values: 'epochs (10, 100) and image_size (64, 224)'."""
    parts = []
    for name, texts in values.items():
        parts.append(f"{name} ({few(sorted(texts, key=_order), MOST_VALUES)})")
    return listed(parts)


def _values(description: SweepDescription, number: int) -> dict[str, object]:
    config = description.row_configs[number]
    values: dict[str, object] = {name: getattr(config, name) for name in field_names([config])}
    if description.source is not None:
        given = " ".join(f"{name}={format_value(one)}" for name, one in description.source.items())
        values["weights"] = f"of the source {given}".strip()
    return values | dict(description.search)


def _text(value: object) -> str:
    """Return a value as text, and a domain with its numbers in one form."""
    if not isinstance(value, SearchDomain):
        return format_value(value)
    if value.low is None or value.high is None:
        return f"searched in {value}"
    step = "" if value.step is None else f" in steps of {value.step:g}"
    return f"searched in {value.kind}({value.low:g}, {value.high:g}){step}"


def _order(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
