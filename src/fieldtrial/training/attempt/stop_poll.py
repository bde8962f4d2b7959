"""Whether a worker was asked to stop."""

import time

from fieldtrial.disk.run import Run


class StopPoll:
    """Looks for a run's stop file between steps, at most once in PAUSE seconds.

    Each look asks the file system, which all trials of a sweep share.
    """

    PAUSE = 1.0

    def __init__(self, run: Run) -> None:
        self._run, self._next = run, 0.0

    def __call__(self) -> bool:
        """Return whether the worker was asked to stop; False between two looks."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.PAUSE
        return self._run.stop_requested()
