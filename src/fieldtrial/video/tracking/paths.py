"""Where a track was, in few points."""

from dataclasses import dataclass, field

from fieldtrial.video.geometry import Point

SHARE, LEAST = 0.05, 1.0  # of the vehicle's size, and in pixels
MOST = 2000  # points of a path


@dataclass(frozen=True)
class Step:
    """A point of a path, and when the track was there."""

    point: Point
    time: float


@dataclass
class Path:
    """A track's way, without the points that lie where the straight way in time leads anyway.

    Between two kept points, x and y are off by at most a twentieth of the vehicle's size, or a
    pixel. A point is kept when the corridor of all ways to it that are so exact is left (the
    swinging door of E. H. Bristol, ISA 1990), so a track that stands for hours has few. If its box
    trembles by more, MOST points come together. They are then thinned out with twice the tolerance,
    which holds from then on.
    """

    kept: list[Step] = field(default_factory=list)
    _last: Step | None = None
    _corridor: list[tuple[float, float]] = field(default_factory=list)  # of speeds in x and y
    _coarse: int = 1  # times the tolerance

    def add(self, time: float, point: Point, size: float) -> None:
        """Add where the track is; nothing at a time that it has. size: the vehicle's, in pixels."""
        if self._last and time <= self._last.time:
            return
        step = Step(point, time)
        if not self.kept:
            self.kept.append(step)
        elif self._last and self._corridor and not self._in_corridor(step):
            self.kept.append(self._last)
            self._corridor = []
        if self.kept[-1] is not step:
            self._narrow(step, self._coarse * max(LEAST, SHARE * size))
        self._last = step
        if len(self.kept) == MOST:
            self._thin_out(size)

    def finish(self) -> list[Step]:
        """Return the points that are kept, with the last one."""
        if self._last is not None and self._last is not self.kept[-1]:
            self.kept.append(self._last)
        return self.kept

    def _thin_out(self, size: float) -> None:
        steps = self.finish()
        self.kept, self._last, self._corridor = [], None, []
        self._coarse *= 2
        for step in steps:
            self.add(step.time, step.point, size)

    def _speeds(self, step: Step, off: float = 0.0) -> list[tuple[float, float]]:
        anchor = self.kept[-1]
        seconds = step.time - anchor.time
        return [
            ((to - start - off) / seconds, (to - start + off) / seconds)
            for start, to in zip(anchor.point, step.point, strict=True)
        ]

    def _in_corridor(self, step: Step) -> bool:
        return all(
            low <= speed <= high
            for (speed, _), (low, high) in zip(self._speeds(step), self._corridor, strict=True)
        )

    def _narrow(self, step: Step, off: float) -> None:
        speeds = self._speeds(step, off)
        if self._corridor:
            speeds = [
                (max(low, least), min(high, most))
                for (low, high), (least, most) in zip(self._corridor, speeds, strict=True)
            ]
        self._corridor = speeds
