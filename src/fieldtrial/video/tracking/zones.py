"""How long tracks are in zones, and how many at once."""

from collections.abc import Iterable
from dataclasses import dataclass

from fieldtrial.video.geometry import Point, Zone

MINUTE = 60.0  # seconds


@dataclass(frozen=True)
class Stay:
    """A track in a zone, from when it was first seen there to when it was last, in seconds."""

    zone: str
    track: int
    first: float
    last: float


class ZoneWatch:
    """One track and one zone."""

    def __init__(self, zone: Zone, track: int, patience: float) -> None:
        self._zone = zone
        self._track = track
        self._patience = patience
        self._first: float | None = None
        self._last = 0.0
        self.inside = False
        self.stays: list[Stay] = []

    def see(self, time: float, point: Point) -> None:
        """Take notice of where the track is. Out for less than `patience` seconds it has not left:
        a vehicle that stands on the border would come and go with every frame.
        """
        self.inside = self._zone.holds(point)
        if not self.inside:
            return
        if self._first is not None and time - self._last > self._patience:
            self.finish()
        if self._first is None:
            self._first = time
        self._last = time

    def finish(self) -> None:
        """End the stay that goes on, if one does."""
        if self._first is not None:
            self.stays.append(Stay(self._zone.name, self._track, self._first, self._last))
            self._first = None


@dataclass(frozen=True)
class Occupancy:
    """How many vehicles were in a zone in a minute of the video.

    Attributes:
        mean: over the part of the minute that the video has.
        most: at one time.
        entered: stays that began.
    """

    minute: int
    mean: float
    most: int
    entered: int


def occupancy(stays: Iterable[Stay], seconds: float) -> list[Occupancy]:
    """Return how many vehicles were in a zone, for each minute of a video of so many seconds.

    stays: of one zone. At one time: a stay that ends when another begins meets it.
    """
    spans = [list[tuple[float, float]]() for _ in range(minutes_of(seconds))]
    for stay in stays:
        for minute in range(int(stay.first // MINUTE), int(stay.last // MINUTE) + 1):
            spans[minute].append((stay.first, stay.last))
    return [_occupancy(minute, spans[minute], seconds) for minute in range(len(spans))]


def _occupancy(minute: int, spans: list[tuple[float, float]], seconds: float) -> Occupancy:
    start, end = MINUTE * minute, MINUTE * (minute + 1)
    # Beginnings come before ends of the same time.
    steps = sorted([(first, -1) for first, _ in spans] + [(last, 1) for _, last in spans])
    now = most = 0
    for time, step in steps:
        now -= step
        if time < end:
            most = max(most, now)
    length = min(end, seconds) - start
    spent = sum(min(last, end) - max(first, start) for first, last in spans)
    mean = spent / length if length > 0 else float(len(spans))
    return Occupancy(minute, mean, most, sum(first >= start for first, _ in spans))


def minutes_of(seconds: float) -> int:
    """Return how many minutes a video has; what happens at its very end is in the last of them."""
    return int(seconds // MINUTE) + 1
