"""How long an attempt holds its devices, and how long its trial would alone."""

import time

from fieldtrial.processes import age


class DeviceClock:
    """Counts from when the attempt began, by a clock that no one sets.

    Attributes:
        spared: seconds that the attempt would have taken more, had no other trial come before it
            on this machine: a warm worker's start, features that were there. None: not known.
        features: seconds in which it computed features for itself and for trials to come, or
            waited for those that another trial was computing.
    """

    def __init__(self, start: float = 0.0, is_charged: bool = True) -> None:
        """Begin now. `start`: the seconds that the start of this process took, which are of the
        attempt if they are charged to it, and were spared if another trial has had them.
        """
        self._began = time.monotonic() - (start if is_charged else 0.0)
        self.spared: float | None = 0.0 if is_charged else start
        self.features = 0.0

    @classmethod
    def of_process(cls) -> "DeviceClock":
        """Return a clock that has run since this process began."""
        return cls(age())

    @property
    def held(self) -> float:
        """The seconds that the attempt has held its devices."""
        return time.monotonic() - self._began

    @property
    def alone(self) -> float | None:
        """The seconds that the trial had taken by now alone, from nothing; None: not known."""
        return None if self.spared is None else self.held + self.spared

    def resume(self, alone: float | None) -> None:
        """Go on from a checkpoint: alone, the trial had taken so long by then."""
        self.spared = None if alone is None else alone - self.held

    def entries(self) -> dict[str, float]:
        """Return a record's entries about the time until now."""
        held, spared = self.held, self.spared
        alone = {} if spared is None else {"alone_seconds": held + spared}
        return {"held_seconds": held} | alone

    def add_features(self, began: float, cost: float | None, were_there: bool) -> None:
        """Note that features were needed, from `began` on by time.monotonic().

        cost: the seconds in which they were once computed, None if unknown.
        """
        taken = time.monotonic() - began
        if not were_there:
            self.features += taken
        known = self.spared is not None and cost is not None
        self.spared = (self.spared or 0.0) + (cost or 0.0) - taken if known else None
