"""labels.csv: a table with a row for each image of a folder, as strangers write it.

Commas, semicolons or tabs stand between the cells. The text is UTF-8, or UTF-16 with its mark, as
spreadsheets write "Unicode text".
"""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fieldtrial.disk.reading import UnreadableError, read_bytes
from fieldtrial.training.data.sets.image_folder import part_of
from fieldtrial.training.data.splits import first_of

FILE = "labels.csv"
IMAGE, PART = "image", "part"  # columns with a meaning of their own
MOST_BYTES = 64 << 20
MOST_COLUMNS = 2000
LONGEST = 500  # characters of a cell
NAMED = 20  # problems that are told
DELIMITERS = ",;\t"
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # how files in UTF-16 begin
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
DECIMAL_RULE = "a number must have a decimal point, {}, and no decimal comma, {}"
LARGEST = 1e18  # of a number's size: its square is finite as float32, too


@dataclass
class Problems:
    """What is wrong with a table, a line each; of many, the first are told."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        """Add a problem."""
        self.count += 1
        if self.count <= NAMED:
            self.lines.append(text)

    def told(self) -> list[str]:
        """Return the lines."""
        more = self.count - len(self.lines)
        return [*self.lines, *([f"and {more:,} more"] if more else [])]


@dataclass(frozen=True)
class Row:
    """A row of the table: the number of its line in the file, from 1, and its cells, trimmed."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of labels.

    Attributes:
        columns: their names, trimmed; "" for one without a name, which counts for nothing.
        rows: those that are not empty.
        problems: what is wrong with rows.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: Problems

    def column(self, name: str) -> list[str]:
        """Return the cells of the column, one for each row."""
        place = self.columns.index(name)
        return [row.cells[place] for row in self.rows]

    @property
    def own(self) -> tuple[str, ...]:
        """The columns that say something of the images, beside their names and parts."""
        return tuple(name for name in self.columns if name not in ("", IMAGE, PART))

    def tell(self, row: Row, text: str) -> None:
        """Note what is wrong with a row."""
        self.problems.add(f"{self.path}, line {row.line}: {text}")

    def numbers(self, name: str) -> list[float]:
        """Return the numbers of a column; what is none is told, and 0."""
        found = []
        for row, cell in zip(self.rows, self.column(name), strict=True):
            value = float(cell) if NUMBER.fullmatch(cell) else LARGEST * 10
            if abs(value) > LARGEST:
                most = f"{LARGEST:g}"
                rule = f"must be a number such as 12.5, from -{most} to {most}"
                if DECIMAL_COMMA.fullmatch(cell):
                    rule = DECIMAL_RULE.format(cell.replace(",", "."), cell)
                self.tell(row, f"{name} = {cell!r}: {rule}")
                value = 0.0
            found.append(value)
        return found

    def parts(self) -> list[int] | None:
        """Return the part of each row; None where the table has no such column."""
        if PART not in self.columns:
            return None
        found = []
        for row, cell in zip(self.rows, self.column(PART), strict=True):
            part = part_of(cell)
            if part is None:
                self.tell(row, f"{PART} = {cell!r}: must be train, val or test")
            found.append(part or 0)
        return found

    def images(self, root: Path, there: Sequence[Path]) -> list[Path]:
        """Return the image of each row, of those that are `there` in the folder `root`.

        Names are compared as Unicode normalises them (NFC). An image that is missing or that
        another row has is told.
        """
        known: Mapping[str, Path] = {
            unicodedata.normalize("NFC", path.relative_to(root).as_posix()): path for path in there
        }
        lines: dict[Path, int] = {}
        found = []
        for row, cell in zip(self.rows, self.column(IMAGE), strict=True):
            name = unicodedata.normalize("NFC", cell).removeprefix("./")
            path = known.get(name) or known.get(name.replace("\\", "/"))
            if path is None:
                self.tell(row, f"{IMAGE} = {cell!r}: there is no such image in {root}")
                path = root
            elif path in lines:
                self.tell(row, f"{IMAGE} = {cell!r}: is in line {lines[path]} already")
            lines[path] = row.line
            found.append(path)
        return found


def columns_of(root: Path) -> tuple[str, ...]:
    """Return the columns of the folder's labels.csv; none where it has no such file.

    Raises:
        UnreadableError: it is no table.
    """
    path = root / FILE
    return _read(path, most_rows=0).columns if path.is_file() else ()


def read_table(root: Path) -> Table:
    """Return the table in the folder `root`.

    Raises:
        UnreadableError: it is no table, or has no row; the message names the line.
        OSError: it cannot be read.
    """
    table = _read(root / FILE)
    if not table.rows:
        none = f"{table.path}: has no row below its first line"
        raise UnreadableError(next(iter(table.problems.lines), none))
    return table


def _read(path: Path, most_rows: int | None = None) -> Table:
    """Return the table in a file; only its first rows if `most_rows` says how many."""
    lines = io.StringIO(_text(path), newline="")
    first = lines.readline()
    lines.seek(0)
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    problems, rows = Problems(), list[Row]()
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        _require_columns(path, columns)
        while most_rows is None or len(rows) < most_rows:
            line = reader.line_num + 1  # where the row begins
            cells = next(reader, None)
            if cells is None:
                break
            trimmed = tuple(cell.strip() for cell in cells)
            if not any(trimmed):
                continue
            row = Row(line, trimmed)
            if len(cells) != len(columns):
                text = f"has {len(cells)} cells; must have {len(columns)}, as the first line has"
                problems.add(f"{path}, line {line}: {text}")
            elif max(map(len, trimmed)) > LONGEST:
                problems.add(f"{path}, line {line}: a cell has more than {LONGEST} characters")
            else:
                rows.append(row)
    except csv.Error as error:
        raise UnreadableError(f"{path}, line {reader.line_num}: {error}") from None
    return Table(path, columns, tuple(rows), problems)


def _text(path: Path) -> str:
    """Return the file's text. Raises UnreadableError if it is in an unknown encoding."""
    data = read_bytes(path, MOST_BYTES)
    encoding = MARKS.get(data[:2], "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UnreadableError(
            f"{path}, line {line}: is not UTF-8; save the table as CSV UTF-8"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UnreadableError(f"{path}, line {line}: holds a character NUL, so it is no text")
    return text


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise UnreadableError unless names of columns are readable, and each is there once."""
    if len(columns) > MOST_COLUMNS:
        raise UnreadableError(
            f"{path}, line 1: {len(columns):,} columns; must be at most {MOST_COLUMNS:,}"
        )
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise UnreadableError(f"{path}, line 1: has two columns {first_of(twice)}")
    if strange := [name for name in columns if not name.isprintable() or len(name) > LONGEST]:
        raise UnreadableError(f"{path}, line 1: the column {strange[0]!a} has no readable name")
