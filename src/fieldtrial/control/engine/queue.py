"""Which trial is started next, and how many could be: kept up to date with each change."""

import heapq
from collections.abc import Callable

from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.trial import Trial

Order = tuple[int, ...]  # of the trials of a sweep: sources first, then row by row


class Waiting:
    """The trials that wait and may run now, the first one first.

    order_of: where a trial stands among all.
    """

    def __init__(self, order_of: Callable[[Trial], Order]) -> None:
        self._order_of = order_of
        self._trials: set[Trial] = set()
        self._heap: list[tuple[Order, int, Trial]] = []  # those that left may still be in it
        self._behind: dict[str, list[tuple[Order, int, Trial]]] = {}  # whose run is taken
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._trials)

    def settle(self, trial: Trial, may_run: bool) -> None:
        """Take a trial in, or out, as it is now."""
        if not may_run or trial.status != "waiting":
            self._trials.discard(trial)
        elif trial not in self._trials:
            self._trials.add(trial)
            self._pushed += 1
            heapq.heappush(self._heap, (self._order_of(trial), self._pushed, trial))

    def free(self, name: str) -> None:
        """Take that the run `name` is not taken any more."""
        for entry in self._behind.pop(name, []):
            heapq.heappush(self._heap, entry)

    def first(self, taken: Callable[[str], bool]) -> Trial | None:
        """Return the first trial whose run is not `taken` by another; it stays."""
        while self._heap:
            trial = self._heap[0][2]
            if trial not in self._trials:
                heapq.heappop(self._heap)
            elif taken(trial.name):
                self._behind.setdefault(trial.name, []).append(heapq.heappop(self._heap))
            else:
                return trial
        return None


class OpenRows:
    """The searches that may propose a trial, the one with the fewest trials first."""

    def __init__(self) -> None:
        self._proposable: dict[Row, int] = {}
        self._heap: list[tuple[int, int, int, Row]] = []  # some are not open any more
        self._counts: dict[Row, int] = {}  # the trials with which a search is in the heap
        self.proposable = 0  # trials, of all of them

    def settle(self, row: Row, may_run: bool) -> None:
        """Take a search in, or out, as it is now."""
        before, now = self._proposable.pop(row, 0), row.proposable if may_run else 0
        self.proposable += now - before
        if now:
            self._proposable[row] = now
            if self._counts.get(row) != len(row.trials):
                self._counts[row] = len(row.trials)
                heapq.heappush(self._heap, (len(row.trials), row.number, row.search, row))

    def first(self) -> Row | None:
        """Return the search with the fewest trials, None where none may propose one."""
        while self._heap:
            count, _, _, row = self._heap[0]
            if row in self._proposable and count == len(row.trials):
                return row
            heapq.heappop(self._heap)
            if self._counts.get(row) == count:
                del self._counts[row]
        return None
