"""A searcher for tests of the engine, which shows whether it was told anything else."""

import zlib
from collections.abc import Sequence
from typing import Any

from fieldtrial.control.engine.ray_tune import SCORE, TIME


class Searcher:
    """Proposes learning rates that depend on all that it was told, and keeps what that was."""

    def __init__(self, rates: Sequence[float]) -> None:
        self._rates = rates
        self.told: list[tuple[Any, ...]] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return a suggestion that differs if anything that was told differs, but for the row."""
        known = [(name.partition("-")[2], *told) for name, *told in [[trial_id], *self.told]]
        return {"lr": self._rates[zlib.crc32(repr(known).encode()) % len(self._rates)]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take the value after an epoch."""
        self.told.append((trial_id, result[TIME], result[SCORE]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the end of a trial."""
        self.told.append((trial_id, "end", error or (result or {})[SCORE]))

    def add_evaluated_point(self, point: dict[str, Any], value: float) -> None:
        """Take a trial that this searcher has not proposed."""
        self.told.append(("point", point["lr"], value))
