"""Whether a worker was asked to stop."""

import time

from fieldtrial.disk.run import Run


class StopPoll:
    """Checks for a run's stop file between steps: every tenth of an epoch, within 0.1 to 1 s."""

    SHARE, SHORTEST, LONGEST = 0.1, 0.1, 1.0

    def __init__(self, run: Run) -> None:
        self._run, self._pause, self._next = run, self.SHORTEST, 0.0

    def set_interval(self, epoch_seconds: float) -> None:
        """Adapt the interval to an epoch's duration."""
        self._pause = min(self.LONGEST, max(self.SHORTEST, self.SHARE * epoch_seconds))

    def __call__(self) -> bool:
        """Return whether the worker was asked to stop; False between two checks."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._pause
        return self._run.stop_requested()
