"""Searchers and schedulers come back from the calls that were made."""

import itertools
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.journal import replayed as module
from fieldtrial.control.engine.journal.replayed import Replayed
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_scheduler, build_searcher
from fieldtrial.control.engine.rounds import Named
from fieldtrial.control.engine.state import ForeignStateError
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
    """Counts its calls, by a step that may change behind its back."""

    step = 1.0

    def __init__(self) -> None:
        self.count = 0.0

    def add(self, times: int = 1) -> float:
        self.count += times * self.step
        return self.count


def search(searcher: Replayed, number: int) -> dict[str, Any]:
    """Make the calls of a trial; return what was proposed."""
    name = f"0-{number}"
    proposed: dict[str, Any] = searcher.call("suggest", name)
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
        return Replayed(make())

    whole, saved = begin(), begin()
    journal = pickle.loads(pickle.dumps(saved))
    for number in range(30):
        assert step(whole, number) == step(saved, number)
        if number % 3 == 0:
            saved.rest()
        if news := saved.take_news():
            journal.add(pickle.loads(pickle.dumps(news)))
        assert saved.take_news() is None
        if number % 7 == 6:  # the driver is killed
            saved = pickle.loads(pickle.dumps(journal))


def test_what_was_proposed_stays_even_where_it_would_be_another_one_now() -> None:
    searcher = Replayed(searcher_of("gp", 30))
    proposed = [search(searcher, number) for number in range(4)]
    searcher.rest()
    searcher._calls[0] = searcher._calls[0]._replace(answer=proposed[3])
    assert list(searcher.made._curves["0-0"].point) == list(searcher.made._curves["0-3"].point)


@pytest.mark.parametrize("name", ["gp", "tpe"])
def test_what_is_saved_of_a_call_does_not_grow_with_the_calls(name: SearcherName) -> None:
    searcher, sizes = Replayed(searcher_of(name, 400)), []
    for number in range(300):
        search(searcher, number)
        sizes.append(len(pickle.dumps(searcher.take_news())))
    assert sum(sizes[200:]) < 2 * sum(sizes[100:200])


def test_few_calls_are_made_again() -> None:
    counter = Replayed(Counter())
    for number in range(1, 500):
        counter.call("add")
        assert len(counter._calls) <= max(module.LEAST_CALLS, number // module.CALLS_SHARE)
    counter.rest()
    assert counter.made.count == 499


def test_another_answer_is_refused_and_another_rounding_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Replayed(Counter())
    counter.call("add", times=3)
    counter.rest()
    monkeypatch.setattr(Counter, "step", 1 + 1e-12)
    assert counter.made.count == pytest.approx(3)
    counter.rest()
    monkeypatch.setattr(Counter, "step", 1 + 1e-6)
    with pytest.raises(ForeignStateError, match=r"add: 3.00000.*, and 3.0 before.*remove the file"):
        counter.call("add")


def test_answers_of_several_values_are_compared() -> None:
    values = [{"a": 1.0, "b": "x"}, {"a": 1.0, "b": "y"}, {"a": 1.0}, {"a": 2.0, "b": "x"}, None]
    for one, other in itertools.combinations(values, 2):
        assert not module._is_same(one, other)
    assert module._is_same({"a": float("nan"), "b": "x"}, {"a": float("nan"), "b": "x"})
