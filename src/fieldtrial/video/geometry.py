"""Where vehicles are counted: lines that they cross, and zones that they are in."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fieldtrial.config import ConfigError
from fieldtrial.fields.printable import UNPRINTABLE

Point = tuple[float, float]  # x and y, in pixels of the upright frame
Place = TypeVar("Place", "Line", "Zone")

LONGEST_NAME = 60
# Spreadsheets would take such a name for a formula; OWASP, CSV Injection.
FORMULA_STARTS = tuple("=+-@＝＋－＠'")
LINE_FORM, ZONE_FORM = "NAME:x1,y1,x2,y2", "NAME:x1,y1,x2,y2,x3,y3,…"


@dataclass(frozen=True)
class Line:
    """A line from `start` to `end`.

    A track crosses it to the right or to the left, as seen by somebody who walks from `start` to
    `end`, in the picture, where y grows downwards.
    """

    name: str
    start: Point
    end: Point

    def distance(self, point: Point) -> float:
        """Return how many pixels a point lies to the right of the line, which is thought to go on
        at both ends; below 0 to its left.
        """
        return _turn(self.start, self.end, point) / math.dist(self.start, self.end)

    def crossed_at(self, before: Point, after: Point) -> Point | None:
        """Return where the straight way between two points, which lie on different sides, meets the
        line; None if it passes one of the line's ends.
        """
        there, here = self.distance(before), self.distance(after)
        share = there / (there - here)
        x, y = (one + share * (other - one) for one, other in zip(before, after, strict=True))
        along = [end - start for start, end in zip(self.start, self.end, strict=True)]
        reached = (x - self.start[0]) * along[0] + (y - self.start[1]) * along[1]
        return (x, y) if 0 <= reached <= along[0] ** 2 + along[1] ** 2 else None


@dataclass(frozen=True)
class Zone:
    """A polygon, without its first point repeated at the end."""

    name: str
    points: tuple[Point, ...]

    def holds(self, point: Point) -> bool:
        """Return whether a point is in the zone.

        A ray from the point to the right meets the border an odd number of times (M. Shimrat, CACM
        5, 1962). A point on the border belongs to one of two zones that share it.
        """
        x, y = point
        inside = False
        for (x1, y1), (x2, y2) in _edges(self.points):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
        return inside


def parse_lines(texts: Sequence[str]) -> tuple[Line, ...]:
    """Return the lines NAME:x1,y1,x2,y2. Raises ConfigError with all that is wrong with them."""
    return _parsed("line", LINE_FORM, texts, _line)


def parse_zones(texts: Sequence[str]) -> tuple[Zone, ...]:
    """Return the zones NAME:x1,y1,x2,y2,x3,y3,…; the first point may be repeated at the end.

    Raises:
        ConfigError: with all that is wrong with them.
    """
    return _parsed("zone", ZONE_FORM, texts, _zone)


def outside_problems(
    lines: Sequence[Line], zones: Sequence[Zone], width: int, height: int
) -> list[str]:
    """Return a line for each line or zone that is not inside an upright frame of that size."""
    places: list[tuple[str, str, tuple[Point, ...]]] = [
        ("line", one.name, (one.start, one.end)) for one in lines
    ]
    places += [("zone", one.name, one.points) for one in zones]
    return [
        f"{kind} {name!r}: {_shown(point)} is outside of the frame; x must be from 0 to {width},"
        f" y from 0 to {height}"
        for kind, name, points in places
        for point in points
        if not (0 <= point[0] <= width and 0 <= point[1] <= height)
    ]


def _parsed(
    kind: str, form: str, texts: Sequence[str], build: Callable[[str, list[Point]], Place]
) -> tuple[Place, ...]:
    places, problems = list[Place](), list[str]()
    for text in texts:
        try:
            name, points = _named_points(text, form)
            places.append(build(name, points))
        except ValueError as error:
            problems.append(f"--{kind} {text!r}: {error}")
    for name, count in Counter(place.name for place in places).items():
        if count > 1:
            problems.append(f"--{kind}: {count} have the name {name!r}; give each its own")
    if problems:
        raise ConfigError(problems)
    return tuple(places)


def _named_points(text: str, form: str) -> tuple[str, list[Point]]:
    name, colon, numbers = text.rpartition(":")
    if not colon:
        raise ValueError(f"must be {form}")
    if (
        not 0 < len(name.strip()) == len(name) <= LONGEST_NAME
        or UNPRINTABLE.search(name)
        or ";" in name
        or name.startswith(FORMULA_STARTS)
    ):
        raise ValueError(
            f"the name {name!r} must have 1 to {LONGEST_NAME} letters, no space at its ends, no"
            " semicolon or control character, and must not begin with = + - @ or '"
        )
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        raise ValueError(f"{numbers!r} must be numbers with commas between them; {form}") from None
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{numbers!r} must be finite numbers, in pixels")
    if len(values) % 2:
        raise ValueError(f"has {len(values)} numbers; must be {form}")
    return name, list(zip(values[::2], values[1::2], strict=True))


def _line(name: str, points: list[Point]) -> Line:
    if len(points) != 2:
        raise ValueError(f"has {_many(points)}; must be {LINE_FORM}")
    if points[0] == points[1]:
        raise ValueError(f"begins and ends at {_shown(points[0])}; must have a length")
    return Line(name, *points)


def _zone(name: str, points: list[Point]) -> Zone:
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if len(points) < 3:
        raise ValueError(f"has {_many(points)}; must have at least three: {ZONE_FORM}")
    if len(set(points)) < len(points):
        twice = next(point for point, count in Counter(points).items() if count > 1)
        raise ValueError(f"comes to {_shown(twice)} twice; must be a simple polygon")
    edges = list(_edges(tuple(points)))
    for (one, first), (other, second) in itertools.combinations(enumerate(edges), 2):
        if other - one in (1, len(edges) - 1):
            before, after = (first, second) if other - one == 1 else (second, first)
            crosses = _turns_back(before, after)
        else:
            crosses = _meet(first, second)
        if crosses:
            raise ValueError(
                f"its edges {_edge(first)} and {_edge(second)} cross or touch; must be a simple"
                " polygon, with its points in the order in which its border is walked"
            )
    return Zone(name, tuple(points))


def _edges(points: tuple[Point, ...]) -> list[tuple[Point, Point]]:
    return list(zip(points, (*points[1:], points[0]), strict=True))


def _turn(start: Point, end: Point, point: Point) -> float:
    """Return twice the area of a triangle: above 0 if `point` is on the right."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _turns_back(before: tuple[Point, Point], after: tuple[Point, Point]) -> bool:
    """Return whether an edge goes back along the one before it."""
    forth = [end - start for start, end in zip(*before, strict=True)]
    back = [end - start for start, end in zip(*after, strict=True)]
    return _turn(*before, after[1]) == 0 and forth[0] * back[0] + forth[1] * back[1] < 0


def _meet(first: tuple[Point, Point], second: tuple[Point, Point]) -> bool:
    """Return whether two edges have a point in common."""
    turns = [_turn(*first, point) for point in second]
    others = [_turn(*second, point) for point in first]
    if turns[0] * turns[1] < 0 and others[0] * others[1] < 0:
        return True
    return any(
        turn == 0 and _between(*edge, point)
        for edge, found, points in ((first, turns, second), (second, others, first))
        for turn, point in zip(found, points, strict=True)
    )


def _between(start: Point, end: Point, point: Point) -> bool:
    return all(
        min(a, b) <= value <= max(a, b) for a, b, value in zip(start, end, point, strict=True)
    )


def _many(points: Sequence[Point]) -> str:
    return f"{len(points)} point{'s' if len(points) != 1 else ''}"


def _edge(edge: tuple[Point, Point]) -> str:
    return f"{_shown(edge[0])}–{_shown(edge[1])}"


def _shown(point: Point) -> str:
    return f"({point[0]:g}, {point[1]:g})"
