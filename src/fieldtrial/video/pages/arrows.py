"""Where the arrows of a line are, which say what right and left mean: on frames and in the page."""

import math

from fieldtrial.video.geometry import Point

SIGNS = {"right": 1, "left": -1}
TIP, COUNT = 1.6, 2.7  # from the line, in heights of a letter: the arrow's tip, and its count
BEYOND = 1.2  # from the line's start, the name


def arrow(start: Point, end: Point, direction: str, length: float) -> tuple[Point, Point]:
    """Return foot and tip of an arrow of `length` pixels from the middle of a line."""
    (x1, y1), (x2, y2) = start, end
    across = SIGNS[direction] * length / _length(start, end)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return (x, y), (x - across * (y2 - y1), y + across * (x2 - x1))


def head(foot: Point, tip: Point, size: float) -> list[Point]:
    """Return the two strokes of an arrow's head, `size` pixels long, as one line."""
    angle = math.atan2(tip[1] - foot[1], tip[0] - foot[0])
    ends = [angle + turn for turn in (0.8 * math.pi, -0.8 * math.pi)]
    first, last = ((tip[0] + size * math.cos(a), tip[1] + size * math.sin(a)) for a in ends)
    return [first, tip, last]


def before(start: Point, end: Point, distance: float) -> Point:
    """Return the point `distance` pixels before the start of a line, on its way."""
    along = distance / _length(start, end)
    return start[0] - along * (end[0] - start[0]), start[1] - along * (end[1] - start[1])


def _length(start: Point, end: Point) -> float:
    return math.dist(start, end) or 1.0
