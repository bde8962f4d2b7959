"""Rounds: what the search of a deterministic sweep may know, whatever runs beside it.

The proposals of a search are made in rounds. A round begins when all trials of the earlier rounds
have ended, and have been told to the searcher in the order of their numbers. Until the next round
begins, neither the searcher nor the scheduler learns of anything that ends.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ray.tune.schedulers import TrialScheduler

from fieldtrial.control.engine.ray_tune import SCORE, TIME, grace_period

# Trials of a round. In larger ones fewer proposals would learn from the last results, and fewer
# trials could be stopped early; in smaller ones fewer trials of a row could run at once.
ROUND = 4


class Named(NamedTuple):
    """All that a scheduler reads of a trial, so that it can be told the same again without it."""

    trial_id: str


def round_of(number: int, random: int) -> tuple[int, int]:
    """Return the numbers of the first trial of a trial's round, and of the first one after it.

    random: how many trials the search begins with that learn from none; rounds do not mix them with
    others.
    """
    start, end = (0, random) if number < random else (random, math.inf)
    first = start + (number - start) // ROUND * ROUND
    return first, int(min(first + ROUND, end))


class RoundHalving:
    """Successive halving (Li et al. 2020) that compares a trial with earlier rounds only.

    It stops a trial that is below the median of the earlier rounds at a rung. So it decides as the
    asynchronous scheduler does where trials run one after another, a round for each. Its methods
    are those of Ray Tune's schedulers that a row calls, and `admit`.
    """

    def __init__(self, epochs: int, mode: Literal["max", "min"]) -> None:
        grace = grace_period(epochs)
        self._sign = 1.0 if mode == "max" else -1.0
        doublings = range(math.floor(math.log2(epochs / grace)) + 1)
        self._rungs: dict[int, list[float]] = {grace * 2**doubling: [] for doubling in doublings}
        self._own: dict[str, dict[int, float]] = {}  # of trials that are not known yet

    def on_trial_add(self, _: object, trial: Named) -> None:
        """Do nothing: a trial is known from its first value on."""

    def on_trial_result(self, _: object, trial: Named, result: dict[str, Any]) -> str:
        """Return the decision on a trial, and keep its value at a rung for later rounds."""
        rung = result[TIME]
        known = self._rungs.get(rung)
        value = self._sign * result[SCORE]
        if known is not None:
            self._own.setdefault(trial.trial_id, {})[rung] = value
        is_poor = bool(known) and value < statistics.median(known or [])
        decision: str = TrialScheduler.STOP if is_poor else TrialScheduler.CONTINUE
        return decision

    def on_trial_complete(self, _: object, trial: Named, result: dict[str, Any]) -> None:
        """Do nothing: `admit` says when a trial that is done counts."""

    def on_trial_remove(self, _: object, trial: Named) -> None:
        """Forget a trial that has failed: others are compared with those that ended well."""
        self._own.pop(trial.trial_id, None)

    def admit(self, trials: Sequence[Named]) -> None:
        """Let trials that have ended be compared with from now on."""
        for trial in trials:
            for rung, value in self._own.pop(trial.trial_id, {}).items():
                if not math.isnan(value):
                    self._rungs[rung].append(value)
