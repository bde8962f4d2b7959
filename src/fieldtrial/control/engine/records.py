"""The new records of the trials that run, as their workers write them."""

import math
from collections.abc import Callable, Collection

from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.files import RecordReader
from fieldtrial.disk.run import Record, Run

RUNS_PER_SECOND = 160  # whose records are read; with many runs, each is read less often


class Records:
    """Follows the records of running trials.

    clock: returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._readers: dict[str, tuple[Trial, RecordReader]] = {}
        self._clock, self._next_reading = clock, -math.inf

    @property
    def pause(self) -> float:
        """The seconds between two readings of all trials' records."""
        return len(self._readers) / RUNS_PER_SECOND

    def follow(self, trial: Trial, run: Run) -> None:
        """Read the records of a trial from now on."""
        self._readers[trial.name] = trial, RecordReader(run)

    def end(self, trial: Trial) -> None:
        """Read the records of a trial no more."""
        del self._readers[trial.name]

    def has_begun(self, trial: Trial) -> bool:
        """Return whether the trial's present attempt has written a record."""
        known = self._readers.get(trial.name)
        return known is not None and known[1].newest >= trial.attempt

    def news(self, ended: Collection[str], pause: float) -> list[tuple[Trial, Record]]:
        """Return the new records in the order of their times, with their trials.

        Where many short trials run at once, some end at any time, and only theirs are read then.

        ended: the names of trials that have ended meanwhile.
        pause: seconds until all are read again.
        """
        now, names = self._clock(), list(ended)
        if not ended or now >= self._next_reading:
            names, self._next_reading = list(self._readers), now + pause
        news: list[tuple[Trial, Record]] = []
        for trial, reader in (self._readers[name] for name in names if name in self._readers):
            news += [(trial, record) for record in reader.read()]
        return sorted(news, key=lambda item: item[1]["time"])
