"""Searchers and schedulers come back from the calls that were made."""

import itertools
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.journal import replayed as module
from fieldtrial.control.engine.journal.replayed import Replayed, ReplayedSearcher
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_scheduler, build_searcher
from fieldtrial.control.engine.rounds import Named
from fieldtrial.fields.choices import SearcherName
from fieldtrial.search_domains import Domain, choice, loguniform
from fieldtrial.sweep import Sweep

SPACE: dict[str, Domain] = {"lr": loguniform(1e-4, 1e-1), "optimizer": choice(["sgd", "adam"])}


def searcher_of(name: SearcherName, trials: int) -> Any:
    sweep = Sweep(
        base=TrainConfig(epochs=2),
        rows=[{"model": "cnn"}],
        search=SPACE,
        trials=trials,
        searcher=name,
    )
    return build_searcher(sweep, 2, 0)


class Counter:
    """Counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1


def search(searcher: ReplayedSearcher, number: int) -> dict[str, Any]:
    """Make the calls of a trial; return what was proposed."""
    name = f"0-{number}"
    proposed = searcher.suggest(name)
    for epoch in (1, 2):
        searcher.call("on_trial_result", name, {SCORE: 0.1 * epoch, TIME: epoch})
    result = {SCORE: -abs(proposed["lr"] - 0.01), TIME: 2}
    searcher.call("on_trial_complete", name, result=result)
    return proposed


def halve(scheduler: Replayed, number: int) -> list[str]:
    """Make the calls of a trial; return the decisions."""
    one, chance = Named(f"0-{number}"), random.Random(number)
    scheduler.call("on_trial_add", None, one)
    return [
        scheduler.call("on_trial_result", None, one, {SCORE: chance.random(), TIME: epoch})
        for epoch in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("step", "make"),
    [
        (search, lambda: searcher_of("gp", 30)),
        (search, lambda: searcher_of("tpe", 30)),
        (halve, lambda: build_scheduler(3, "max")),
    ],
    ids=["gp", "tpe", "halving"],
)
def test_saved_at_any_time_it_goes_on_as_if_it_had_not_been(
    step: Any, make: Callable[[], Any]
) -> None:
    def begin() -> Replayed:
        return Replayed(make()) if step is halve else ReplayedSearcher(make())

    whole, saved = begin(), begin()
    journal = pickle.loads(pickle.dumps(saved))
    for number in range(30):
        assert step(whole, number) == step(saved, number)
        if number % 3 == 0:
            saved.release()
        if news := saved.take_news():
            journal.add(pickle.loads(pickle.dumps(news)))
        assert saved.take_news() is None
        if number % 7 == 6:  # the driver is killed
            saved = pickle.loads(pickle.dumps(journal))


def test_what_was_proposed_stays_even_where_it_would_be_another_one_now() -> None:
    searcher = ReplayedSearcher(searcher_of("gp", 30))
    proposed = [search(searcher, number) for number in range(4)]
    searcher.release()
    searcher._calls[0] = searcher._calls[0]._replace(arguments=("0-0", proposed[3]))
    curves = searcher.searcher._curves
    assert list(curves["0-0"].point) == list(curves["0-3"].point)


@pytest.mark.parametrize("name", ["gp", "tpe"])
def test_what_is_saved_of_a_call_does_not_grow_with_the_calls(name: SearcherName) -> None:
    searcher, sizes = ReplayedSearcher(searcher_of(name, 400)), []
    for number in range(400):
        search(searcher, number)
        sizes.append(len(pickle.dumps(searcher.take_news())))
    # Saved whole every 32 calls, a trial of 400 costs three times as much as one of 100.
    assert sum(sizes) / 400 < 1.2 * sum(sizes[:100]) / 100


def test_few_calls_are_made_again() -> None:
    counter = Replayed(Counter())
    for number in range(1, 500):
        counter.call("add")
        assert len(counter._calls) <= max(module.LEAST_CALLS, number // module.CALLS_SHARE)
    counter.release()
    assert counter.made.count == 499


class Proposing:
    """A searcher whose proposals may change behind its back, and which keeps what it was told."""

    shift = 0.0

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.told.append((trial_id,))
        return {"lr": len(self.told) + self.shift, "optimizer": "sgd"}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append((trial_id, result[SCORE]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.told.append((trial_id, "error" if error or not result else result[SCORE]))

    def add_evaluated_point(self, parameters: dict[str, Any], value: float) -> None:
        self.told.append((parameters["lr"], value))


@pytest.mark.parametrize("shift", [0.0, 1e-12, 0.5])
@pytest.mark.parametrize("error", [False, True])
def test_what_was_proposed_counts_whatever_would_be_proposed_now(
    shift: float, error: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = ReplayedSearcher(Proposing())
    assert searcher.suggest("a")["lr"] == 1.0
    monkeypatch.setattr(Proposing, "shift", shift)
    searcher.release()
    searcher.call("on_trial_result", "a", {SCORE: 0.5})
    result = None if error else {SCORE: 0.75}
    searcher.call("on_trial_complete", "a", result=result, error=error)
    if shift == 0.5:
        expected = [("a",), ("a", "error"), *([] if error else [(1.0, 0.75)])]
    else:
        expected = [("a",), ("a", 0.5), ("a", "error" if error else 0.75)]
    assert searcher.searcher.told == expected
    saved = pickle.loads(pickle.dumps(searcher))
    saved.suggest("b")
    assert saved.searcher.told[-1] == ("b",)


def test_proposals_are_the_same_only_if_all_values_are() -> None:
    values = [{"a": 1.0, "b": "x"}, {"a": 1.0, "b": "y"}, {"a": 1.0}, {"a": 2.0, "b": "x"}, {}]
    for one, other in itertools.combinations(values, 2):
        assert not module._is_same(one, other)
    assert module._is_same({"a": 1.0, "b": 3}, {"a": 1.0 + 1e-12, "b": 3})
