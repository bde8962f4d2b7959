"""Short names of a table's rows: without what all rows share, and without paths' common folders."""

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from fieldtrial.fields.values import format_value

BETWEEN = " · "  # the values in a name, and of a pivoted column
LABEL = "label"  # the key of a row's name in a sweep file; it is no field
LONGEST_LABEL = 60  # letters
FOLDER_PREFIX = "folder:"  # before a data set's path
SHOWN = 3  # rows that a message names
# Values that say nothing without their field.
NUMBER = re.compile(r"[-+.]?\d[\d.e,+-]*|true|false|none")
Cells = Sequence[str]  # a row's values, as they stand on a command line


def name_rows(
    own: Sequence[Mapping[str, object]], fields: Sequence[str], rows: Sequence[Cells]
) -> list[str]:
    """Return a name for each row: 'cnn · none', or with field names where rows set different ones.

    A row's name has the fields that it sets and that are not the same in all rows; where it sets
    none of them, all that differ. A number alone has its field's name too: 'batch_size=16'. A row
    with a label is called so.

    own: the fields that each row sets, and its label. rows: the values of all `fields` in each row.
    """
    differing = differing_fields(fields, rows)
    columns = [shortened(row[place] for row in rows) for place in range(len(fields))]
    are_alike = len({tuple(name for name in row if name in fields) for row in own}) == 1
    are_alike = are_alike and not _are_numbers(fields, rows)

    def name_of(number: int, names: Collection[str]) -> str:
        cells = zip(fields, columns, rows[number], strict=True)
        texts = {name: short[cell] for name, short, cell in cells if name in names}
        if are_alike:
            return BETWEEN.join(texts.values())
        return " ".join(f"{name}={text}" for name, text in texts.items())

    names = []
    for number, row in enumerate(own):
        known = [name for name in row if name in fields and (name in differing or not differing)]
        names.append(name_of(number, known or differing) or f"row {number}")
    return [str(row.get(LABEL) or name) for row, name in zip(own, names, strict=True)]


def names_head(
    own: Sequence[Mapping[str, object]], fields: Sequence[str], rows: Sequence[Cells]
) -> str:
    """Return what the names of `name_rows` are values of: 'model · freeze', or 'row'."""
    are_alike = len({tuple(row) for row in own}) == 1 and not any(LABEL in row for row in own)
    are_alike = are_alike and not _are_numbers(fields, rows)
    return BETWEEN.join(differing_fields(fields, rows) or fields) if are_alike else "row"


def differing_fields(fields: Sequence[str], rows: Sequence[Cells]) -> list[str]:
    """Return the fields whose values are not the same in all rows, in order."""
    return [name for place, name in enumerate(fields) if len({row[place] for row in rows}) > 1]


def _are_numbers(fields: Sequence[str], rows: Sequence[Cells]) -> bool:
    """Return whether rows differ in one field only, and its values are numbers, yes or no."""
    places = [place for place, name in enumerate(fields) if len({row[place] for row in rows}) > 1]
    return len(places) == 1 and all(NUMBER.fullmatch(row[places[0]]) for row in rows)


def shortened(texts: Iterable[str]) -> dict[str, str]:
    """Return each text without the folders that are common to all paths among the texts.

    A data set's path stands behind a word and a colon: folder:/data/bees.
    """
    distinct = list(dict.fromkeys(texts))
    paths = {text: _parts(text) for text in distinct if _is_path(text)}
    common = len(common_folders(distinct))
    short = {
        text: before + "/".join(parts[common:]) if common else text
        for text, (before, parts) in paths.items()
    }
    if len({short.get(text, text) for text in distinct}) < len(distinct):
        short = {}  # a path whose last part is another value
    return {text: short.get(text, text) for text in distinct}


def common_folders(texts: Iterable[str]) -> list[str]:
    """Return the parts of the path that all paths among the texts begin with, as folders."""
    folders = [_parts(text)[1][:-1] for text in texts if _is_path(text)]
    levels = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    return [parts[0] for parts in levels]


def rows_text(numbers: Sequence[int], rows: Sequence[Mapping[str, object]]) -> str:
    """Return what a message calls rows: 'row 1 (model=cnn), row 2 (model=mlp) and 4 more'."""
    named = []
    for number in numbers[:SHOWN]:
        own = {name: value for name, value in rows[number].items() if name != LABEL}
        texts = [f"{name}={format_value(value)}" for name, value in own.items()]
        named.append(f"row {number} ({' '.join(texts) or 'nothing set'})")
    more = len(numbers) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def given_labels(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Return the rows' names in a sweep file, empty for a row without one; () if none has one."""
    labels = tuple(str(row.get(LABEL, "")) for row in rows)
    return labels if any(labels) else ()


def label_problems(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return what is wrong with the labels of a sweep's rows, a line for each problem."""
    given = {number: row[LABEL] for number, row in enumerate(rows) if LABEL in row}
    problems = [
        f"row {number}: label = {label!r}: must be a text in one line, of 1 to"
        f" {LONGEST_LABEL} letters"
        for number, label in given.items()
        if not is_label(label)
    ]
    counts = Counter(label for label in given.values() if isinstance(label, str))
    for label in (label for label, count in counts.items() if count > 1):
        numbers = ", ".join(str(number) for number, one in given.items() if one == label)
        problems.append(f"rows {numbers}: label = {label!r}: must be of one row only")
    return problems


def is_label(label: object) -> bool:
    """Return whether a row may have this name."""
    if not isinstance(label, str):
        return False
    return label.isprintable() and 0 < len(label.strip()) <= len(label) <= LONGEST_LABEL


def _is_path(text: str) -> bool:
    before, colon, _ = text.partition(":")
    return "/" in text.strip("/") and (not colon or text.startswith(FOLDER_PREFIX) or "/" in before)


def _parts(text: str) -> tuple[str, list[str]]:
    """Return what stands before the path in a text, and the parts of the path."""
    before = FOLDER_PREFIX if text.startswith(FOLDER_PREFIX) else ""
    return before, text.removeprefix(before).rstrip("/").split("/")
