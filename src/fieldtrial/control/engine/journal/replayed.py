"""Searchers and schedulers that are saved by what they were told, not whole.

Ray Tune can only pickle them whole, and with each trial they grow. Saved whole before each start, a
sweep of n trials would write n² of them.
"""

import math
import pickle
from typing import Any, NamedTuple

from fieldtrial.control.engine.state import ADVICE, ForeignStateError

# The calls after which a new pickle takes their place: so many, or a share of all calls so far, so
# that pickling costs the same for each call, however many there have been.
LEAST_CALLS = 32
CALLS_SHARE = 4
SAME = 1e-9  # relative difference of two numbers that another processor's rounding may cause


class Call(NamedTuple):
    """A method that was called with these arguments, and what it returned."""

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    answer: Any


class News(NamedTuple):
    """What has been added since the last save: calls, after `start` where that is another one.

    before: how many calls the start knows.
    """

    start: bytes | None
    before: int
    calls: list[Call]


class Replayed:
    """An object whose state follows from its calls alone: a pickle, and the calls since then.

    After a restart the calls are made again at the next one. They must give the same answers. An
    object whose answers hang on the last bit of a number may have a method `NAME_again`, which
    takes the answer that NAME gave, after its arguments.
    """

    def __init__(self, made: object) -> None:
        self._made: Any = made
        self._start = pickle.dumps(made, pickle.HIGHEST_PROTOCOL)
        self._calls: list[Call] = []
        self._before = 0  # calls that `_start` knows
        self._saved = 0  # calls that are saved
        self._is_start_saved = True

    @property
    def made(self) -> Any:
        """The object as it is now.

        Raises:
            ForeignStateError: it does not give the answers that it gave.
        """
        if self._made is None:
            made = pickle.loads(self._start)
            for name, arguments, options, answer in self._calls:
                if take_answer := getattr(made, f"{name}_again", None):
                    take_answer(*arguments, answer, **options)
                    continue
                again = getattr(made, name)(*arguments, **options)
                if not _is_same(again, answer):
                    raise ForeignStateError(
                        f"engine.state: a search answers otherwise than it did ({name}: {again!r},"
                        f" and {answer!r} before), as with another version of Ray Tune or Optuna;"
                        f" use the version that the sweep was begun with. {ADVICE}"
                    )
            self._made = made
        return self._made

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the object, and return its answer. The arguments are kept as they are.

        Raises:
            ForeignStateError: as `made`.
        """
        answer = getattr(self.made, name)(*arguments, **options)
        self._calls.append(Call(name, arguments, options, answer))
        if len(self._calls) >= max(LEAST_CALLS, self._before // CALLS_SHARE):
            self._start = pickle.dumps(self._made, pickle.HIGHEST_PROTOCOL)
            self._before += len(self._calls)
            self._calls, self._saved, self._is_start_saved = [], 0, False
        return answer

    def rest(self) -> None:
        """Give back the memory of the object, until it is called again."""
        self._made = None

    def take_news(self) -> News | None:
        """Return what is not saved yet, and count it as saved; None where nothing is new."""
        calls = self._calls[self._saved :]
        start = None if self._is_start_saved else self._start
        self._saved, self._is_start_saved = len(self._calls), True
        return None if start is None and not calls else News(start, self._before, calls)

    def add(self, news: News) -> None:
        """Take what `take_news` returned."""
        if news.start is not None:
            self._start, self._calls = news.start, []
        self._before = news.before
        self._calls += news.calls
        self._saved = len(self._calls)

    def __getstate__(self) -> dict[str, Any]:
        known = {"_start": self._start, "_calls": self._calls, "_before": self._before}
        return known | {"_made": None, "_saved": len(self._calls), "_is_start_saved": True}


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two answers are equal, or differ by rounding only."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return all(_is_same(one[name], other[name]) for name in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
