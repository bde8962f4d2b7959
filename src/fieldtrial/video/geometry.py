"""Where vehicles are counted: lines that they cross, and zones that they are in."""

from dataclasses import dataclass

Point = tuple[float, float]  # x and y, in pixels of the upright frame


@dataclass(frozen=True)
class Line:
    """A line from `start` to `end`.

    A track crosses it to the right or to the left, as seen by somebody who walks from `start` to
    `end`, in the picture, where y grows downwards.
    """

    name: str
    start: Point
    end: Point


@dataclass(frozen=True)
class Zone:
    """A polygon, without its first point repeated at the end."""

    name: str
    points: tuple[Point, ...]
