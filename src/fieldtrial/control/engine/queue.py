"""Which trial is started next, and how many could be: kept up to date with each change."""

import heapq
from collections.abc import Callable

from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.trial import Trial
from fieldtrial.together import group_of

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
    """The searches that may propose a trial, in turn: the one that had the fewest turns first.

    A turn is one trial. Of a row whose heads may train together it is as many as do, so that
    those that are started meet.
    """

    def __init__(self) -> None:
        self._together = 1
        self._proposable: dict[Row, int] = {}
        self._heap: list[tuple[int, int, int, Row]] = []  # some are not open any more
        self._turns: dict[Row, int] = {}  # with which a search is in the heap
        self.proposable = 0  # trials, of all of them

    def gather(self, together: int) -> None:
        """Make turns as long as `together` heads that train as one."""
        self._together = together
        self._heap.clear()
        self._turns.clear()
        for row in self._proposable:
            self._push(row)

    def settle(self, row: Row, may_run: bool) -> None:
        """Take a search in, or out, as it is now."""
        before, now = self._proposable.pop(row, 0), row.proposable if may_run else 0
        self.proposable += now - before
        if now:
            self._proposable[row] = now
            if self._turns.get(row) != self._turn(row):
                self._push(row)

    def first(self) -> Row | None:
        """Return the search whose turn it is, None where none may propose a trial."""
        while self._heap:
            turn, _, _, row = self._heap[0]
            if row in self._proposable and turn == self._turn(row):
                return row
            heapq.heappop(self._heap)
            if self._turns.get(row) == turn:
                del self._turns[row]
        return None

    def _push(self, row: Row) -> None:
        self._turns[row] = turn = self._turn(row)
        heapq.heappush(self._heap, (turn, row.number, row.search, row))

    def _turn(self, row: Row) -> int:
        """Return how many whole turns the search has had."""
        shares = self._together > 1 and group_of(row.config)
        return len(row.trials) // (self._together if shares else 1)
