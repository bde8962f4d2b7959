"""Who wins a search: the best on validation, or of several finalists the best with fresh seeds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.sweep_description import Mode


@dataclass
class Finalist:
    """One of the best configurations of a search.

    trial: of the search. runs: the same configuration, trained with seeds that neither the search
    nor the final runs use.
    """

    trial: Trial
    runs: list[Trial]

    @property
    def value(self) -> float | None:
        """The mean of `select` over the runs that were trained to the end, None without any."""
        known = [run.best for run in self.runs if run.best is not None]  # of those that ended well
        finite = [value for value in known if math.isfinite(value)]
        return statistics.fmean(finite) if finite else None


def rank(trials: Iterable[Trial], mode: Mode) -> list[Trial]:
    """Return the trials that ended well, best first.

    Those that were trained to the end go before those that were stopped early. Of equal values, the
    first trial goes first.
    """
    done = [trial for trial in trials if trial.status == "done" and trial.best is not None]
    sign = 1 if mode == "max" else -1
    return sorted(
        done, key=lambda trial: (trial.stopped_at is not None, -sign * (trial.best or 0.0))
    )


def choose_winner(
    ranked: Sequence[Trial], finalists: Sequence[Finalist], mode: Mode
) -> Trial | None:
    """Return the winner of a search whose trials `rank` has ranked, None if none ended well.

    It is the finalist with the best mean over its runs. Of finalists with equal means, it is the
    one that the search ranked first. The value in the search counts no more, because it may have
    been luck. If no run of any finalist was trained to the end, and as long as some run is under
    way, it is the trial that the search ranked first.
    """
    if any(run.live for finalist in finalists for run in finalist.runs):
        finalists = []
    known = [(finalist.value, finalist.trial) for finalist in finalists]
    tested = [(value, trial) for value, trial in known if value is not None]
    if tested:
        sign = 1 if mode == "max" else -1
        return max(tested, key=lambda pair: sign * pair[0])[1]
    return next(iter(ranked), None)
