"""The tables beside summary.json, row by row: they may be long, and be somebody else's."""

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fieldtrial.disk.files import read_json
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError, open_file
from fieldtrial.video.outcome import Outcome
from fieldtrial.video.summary import Summary

DIRECTIONS = {"right": 0, "left": 1}
CROSSINGS = ("video", "line", "direction", "class", "track", "time")
TRACKS = ("video", "class", "path")
ZONES = ("video", "zone", "minute", "mean", "most", "entered")
LAST_MINUTE = 10_000_000  # of a table: nineteen years
MOST = 2**40  # of a count

Stream = tuple[int, int, int, int]  # numbers of a video, a line, a direction and a class


class Names:
    """The numbers of the names that tables may have: their places in summary.json."""

    def __init__(self, summary: Summary) -> None:
        self.videos = {entry["name"]: at for at, entry in enumerate(summary["videos"])}
        self.lines = {entry["name"]: at for at, entry in enumerate(summary["lines"])}
        self.zones = {entry["name"]: at for at, entry in enumerate(summary["zones"])}
        self.classes = {name: at for at, name in enumerate(summary["classes"])}


@dataclass(frozen=True)
class Crossed:
    """A row of crossings.csv."""

    stream: Stream
    track: int
    time: float


@dataclass(frozen=True)
class Occupied:
    """A row of zones.csv: vehicles in a zone in a minute, on average and at most, and new ones."""

    mean: float
    most: int
    entered: int


def read_summary(outcome: Outcome) -> Summary:
    """Return what summary.json says.

    Raises:
        FileNotFoundError: there is none: nothing was found here, or not yet.
        UnreadableError: it is not as this program writes it, or has a name twice.
    """
    path = outcome.summary_path
    summary: Summary | None = read_json(path, Summary)
    if summary is None:
        raise FileNotFoundError(f"{path}: no such file, so nothing was found in videos here yet")
    kinds = (summary["videos"], summary["lines"], summary["zones"])
    names = [[entry["name"] for entry in kind] for kind in kinds]
    for listed in (*names, summary["classes"]):
        twice = [name for name, count in Counter(listed).items() if count > 1]
        if twice:
            raise UnreadableError(f"{path}: the name {twice[0]!r} is there twice")
    return summary


def read_crossings(outcome: Outcome, names: Names) -> Iterator[Crossed]:
    """Yield the crossings, in the order of the file."""
    for row in _rows(outcome.crossings_path, CROSSINGS):
        yield Crossed(row.stream(names), row.whole("track"), row.number("time"))


def read_tracks(outcome: Outcome, names: Names) -> Iterator[tuple[int, int, str, str]]:
    """Yield number of the video, number of the class, path, and where it stands, of each track."""
    for row in _rows(outcome.tracks_path, TRACKS):
        video, label = row.known("video", names.videos), row.known("class", names.classes)
        yield video, label, row.text("path"), row.where


def read_zones(outcome: Outcome, names: Names) -> dict[tuple[int, int], dict[int, Occupied]]:
    """Return {(video, zone): {minute of the video: how it was occupied}}."""
    found: dict[tuple[int, int], dict[int, Occupied]] = defaultdict(dict)
    if not names.zones:
        return {}
    for row in _rows(outcome.zones_path, ZONES):
        place = row.known("video", names.videos), row.known("zone", names.zones)
        minute = row.whole("minute", LAST_MINUTE)
        occupied = Occupied(row.number("mean"), row.whole("most"), row.whole("entered"))
        found[place][minute] = occupied
    return dict(found)


@dataclass(frozen=True)
class _Row:
    """A row of a table, and where it stands."""

    cells: dict[str, str]
    where: str

    def text(self, column: str) -> str:
        return self.cells[column]

    def whole(self, column: str, most: int = MOST) -> int:
        text = self.cells[column]
        if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= most):
            raise self._refused(column, f"must be a whole number up to {most:,}")
        return int(text)

    def number(self, column: str) -> float:
        try:
            value = float(self.cells[column])
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e12:
            raise self._refused(column, "must be a number from 0 on")
        return value

    def known(self, column: str, names: dict[str, int]) -> int:
        if self.cells[column] not in names:
            raise self._refused(column, "is not in summary.json")
        return names[self.cells[column]]

    def stream(self, names: Names) -> Stream:
        video, line = self.known("video", names.videos), self.known("line", names.lines)
        return video, line, self.known("direction", DIRECTIONS), self.known("class", names.classes)

    def _refused(self, column: str, rule: str) -> UnreadableError:
        return UnreadableError(f"{self.where}: {column} is {self.cells[column][:60]!r}; it {rule}")


def _rows(path: Inside, columns: Sequence[str]) -> Iterator[_Row]:
    """Yield the rows of a CSV file that has these columns, and maybe others."""
    with open_file(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        reader = csv.reader(text)
        try:
            head = next(reader, [])
            if lacking := [name for name in columns if name not in head]:
                raise UnreadableError(f"{path}: has no column {', '.join(lacking)}")
            places = [(name, head.index(name)) for name in columns]
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(head):
                    raise UnreadableError(
                        f"{where}: {len(cells)} values; must be {len(head)}, as many as columns"
                    )
                yield _Row({name: cells[at] for name, at in places}, where)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UnreadableError(f"{path}: not a table of this program: {error}") from None
