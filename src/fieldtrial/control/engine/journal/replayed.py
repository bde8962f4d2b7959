"""Searchers and schedulers that are saved by what they were told, not whole.

Ray Tune can only pickle them whole, and with each trial they grow. Saved whole before each start, a
sweep of n trials would write n² of them.
"""

import math
import pickle
from typing import Any, NamedTuple

from fieldtrial.control.engine.ray_tune import SCORE

# The calls after which a new pickle takes their place: so many, or a share of all calls so far, so
# that pickling costs the same for each call, however many there have been.
LEAST_CALLS = 32
CALLS_SHARE = 4
SAME = 1e-9  # relative difference of two numbers that another processor's rounding may cause


class Call(NamedTuple):
    """A method that was called with these arguments."""

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class News(NamedTuple):
    """What has been added since the last save: calls, after `start` where that is another one.

    before: how many calls the start knows.
    """

    start: bytes | None
    before: int
    calls: list[Call]


class Replayed:
    """An object whose state follows from its calls alone: a pickle, and the calls since then.

    After a restart, the calls are made again before the next one.
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
        """The object as it is now."""
        if self._made is None:
            self._made = pickle.loads(self._start)
            for call in self._calls:
                getattr(self._made, call.name)(*call.arguments, **call.options)
        return self._made

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the object, and return its answer. Nobody may change the arguments."""
        answer = getattr(self.made, name)(*arguments, **options)
        self._keep(Call(name, arguments, options))
        return answer

    def _keep(self, call: Call) -> None:
        self._calls.append(call)
        if len(self._calls) >= max(LEAST_CALLS, self._before // CALLS_SHARE):
            self._start = pickle.dumps(self._made, pickle.HIGHEST_PROTOCOL)
            self._before += len(self._calls)
            self._calls, self._saved, self._is_start_saved = [], 0, False

    def release(self) -> None:
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


class ReplayedSearcher(Replayed):
    """A searcher of Ray Tune. What it has proposed counts, whatever it would propose now."""

    def __init__(self, searcher: Any) -> None:
        super().__init__(_Faithful(searcher))

    @property
    def searcher(self) -> Any:
        """The searcher as it is now."""
        return self.made.searcher

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the values of a new trial."""
        values: dict[str, Any] = self.made.suggest(trial_id)
        self._keep(Call("suggest", (trial_id, values), {}))
        return values


class _Faithful:
    """A searcher that can be told what it has proposed.

    With another version of a library, and rarely with another processor, it proposes something else
    from the same results. If it has no method `suggest_again`, which takes what was proposed, it is
    told the result as that of a trial that was not its own.
    """

    def __init__(self, searcher: Any) -> None:
        self.searcher = searcher
        self._others: dict[str, dict[str, Any]] = {}

    def suggest(self, trial_id: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the values of a new trial, or those of `before`, where they were proposed then."""
        if before is not None and hasattr(self.searcher, "suggest_again"):
            self.searcher.suggest_again(trial_id, before)
            return before
        values: dict[str, Any] = self.searcher.suggest(trial_id)
        if before is None or _is_same(values, before):
            return values
        self.searcher.on_trial_complete(trial_id, error=True)
        self._others[trial_id] = before
        return before

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> str | None:
        """Take a value of a trial; return what the searcher decides on the trial."""
        if trial_id in self._others:
            return None
        decision: str | None = self.searcher.on_trial_result(trial_id, result)
        return decision

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the end of a trial."""
        other = self._others.pop(trial_id, None)
        if other is None:
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
        elif result and not error:
            self.searcher.add_evaluated_point(other, result[SCORE])

    def add_evaluated_point(self, parameters: dict[str, Any], value: float) -> None:
        """Take a trial that the searcher has not proposed."""
        self.searcher.add_evaluated_point(parameters, value)


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two proposals are equal, or differ by rounding only."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return all(_is_same(one[name], other[name]) for name in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME)
    return bool(one == other)
