"""When a track crosses a line: once for each direction, and not because its box trembles."""

from fieldtrial.video.geometry import Line, Point
from fieldtrial.video.summary import Direction


class LineWatch:
    """One track and one line.

    The track has crossed once it has been clearly on one side, farther from the line than the
    margin, and then clearly on the other, and its way between met the line and not the space beyond
    an end. Between the margins it may stand and tremble. A track that is first seen at the line
    has no side yet.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._clear = 0  # the side on which it was clearly last: 1 is right, -1 left
        self._before: tuple[Point, float] | None = None
        self._met: Point | None = None  # where the way has changed sides last; None beyond an end
        self._done = set[Direction]()

    def see(self, point: Point, margin: float) -> tuple[Direction, Point] | None:
        """Return the direction in which the track has now crossed, and where; None if it has not,
        or if it has done so in this direction before.

        point: where the vehicle is. margin: in pixels.
        """
        distance = self._line.distance(point)
        if self._before is not None and (self._before[1] > 0) != (distance > 0):
            self._met = self._line.crossed_at(self._before[0], point)
        self._before = point, distance
        side = 0 if abs(distance) <= margin else 1 if distance > 0 else -1
        if side in (0, self._clear):
            return None
        came_from, self._clear = self._clear, side
        direction: Direction = "right" if side > 0 else "left"
        if not came_from or self._met is None or direction in self._done:
            return None
        self._done.add(direction)
        return direction, self._met
