"""How many trials a sweep has, and what a budget may be."""

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from ray import tune

from fieldtrial.budget import until
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.changes import in_folds
from fieldtrial.control.engine.row import Row
from fieldtrial.control.smoke import smoke
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.sweep import Sweep

LR = {"lr": tune.loguniform(1e-4, 1e-1)}


def sweep(**fields: Any) -> Sweep:
    asked: dict[str, Any] = {"base": TrainConfig(), "rows": [{}], "search": LR}
    return Sweep(**asked | fields)


def problems(**fields: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        sweep(**fields)
    return caught.value.problems


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({}, 8 + 3),
        ({"search": {}}, 1 + 3),
        ({"finalists": 2}, 8 + 2 * 3 + 3),
        ({"searches": 5}, 5 * (8 + 3)),
        ({"folds": 5}, 8 + 5),
        ({"folds": 5, "finalists": 2}, 8 + 2 * 5 + 5),
        ({"folds": 5, "searches": 5}, 5 * (8 + 1)),
        ({"trials": 6, "seeds": 2, "finalists": 3, "searches": 4}, 4 * (6 + 3 * 2 + 2)),
    ],
)
def test_the_trials_of_a_row_are_counted(fields: dict[str, Any], runs: int) -> None:
    one = sweep(**fields)
    assert (one.runs_per_row, one.describe("x").runs_per_row) == (runs, runs)


def test_a_tenth_of_all_trials_may_fail() -> None:
    assert sweep(trials=10, seeds=2, finalists=4, searches=8).most_failures == 16


def test_all_problems_of_a_budget_are_told_at_once() -> None:
    assert problems(trials=2, seeds=0, finalists=3, searches=0, max_failures=-1) == [
        "searches = 0: must be at least 1",
        "max_failures = -1: must be at least 0",
        "finalists = 3: must be at most trials = 2",
        "finalists = 3: must be 1 with seeds = 0, because finalists are trained again with as many"
        " seeds",
    ]
    assert problems(finalists=0) == ["finalists = 0: must be at least 1"]
    assert problems(search={}, finalists=2, searches=3) == [
        "finalists = 2: must be 1, because nothing is searched",
        "searches = 3: must be 1, because nothing is searched",
    ]


def test_runs_with_fresh_seeds_stay_apart() -> None:
    assert sweep(seeds=500).seeds == 500
    assert sweep(seeds=499, searches=2, finalists=2).seeds == 499
    assert problems(seeds=500, searches=2) == [
        "seeds = 500: must be at most 499 with finalists or searches, so that no two runs share a"
        " seed"
    ]


def test_a_smoke_has_one_search_and_no_finalists() -> None:
    tiny = smoke(replace(sweep(), finalists=3, searches=5))
    assert (tiny.trials, tiny.finalists, tiny.searches, tiny.runs_per_row) == (1, 1, 1, 2)


def test_seeds_until_it_is_decided() -> None:
    one = sweep(seeds=until(10))
    assert (one.seeds, one.most_seeds, str(one.seeds)) == (3, 10, "until(10)")
    assert one.runs_per_row == 8 + 10
    described = one.describe("x")
    again = SweepDescription.from_json(json.loads(json.dumps(described.to_json())), "it")
    assert again == described
    assert again.most_seeds == 10
    assert pickle.loads(pickle.dumps(one.seeds)).most == 10
    assert sweep(seeds=5).most_seeds == 5


def test_what_until_needs_is_said() -> None:
    assert problems(seeds=until(3)) == [
        "seeds = until(3): must be more than the 3 that it begins with"
    ]
    assert problems(seeds=until(9), searches=2) == [
        "seeds = until(9): must be a number with searches = 2, because the luck of a search is not"
        " reduced by seeds"
    ]


def test_an_a_a_sweep_runs_its_first_row_twice() -> None:
    one = sweep(rows=[{"optimizer": "sgd"}, {"optimizer": "adam"}], aa=True)
    first, _, again = one.planned
    assert (again.number, again.cells, again.label) == (2, ("sgd again",), "sgd again")
    assert again.config.configuration == first.config.configuration
    assert again.config.id != first.config.id
    described = one.describe("x")
    assert described.labels == ["sgd", "adam", "sgd again"]
    assert SweepDescription.from_json(described.to_json(), "it") == described
    assert len(smoke(one).planned) == 2
    assert Row(one, 2).config.seed != Row(one, 0).config.seed


def test_what_goes_with_folds_is_said() -> None:
    assert problems(folds=5, seeds=7, searches=3) == [
        "seeds = 7: must be left out with folds = 5, because a winner is trained once for each"
        " fold",
        "searches = 3: must be 1 or 5 with folds = 5: one for all folds, or one for each",
    ]
    assert problems(folds=5, seeds=until(9))[0].startswith("seeds = until(9): must be left out")
    assert problems(base=TrainConfig(folds=3)) == [
        "base folds = 3: the sweep's `folds` says it for all rows"
    ]
    assert problems(folds=3, rows=[{"fold": 1}]) == [
        "row 0: fold is not a row's field; a winner is tested on each of the sweep's `folds`"
    ]
    assert problems(folds=3, source={"epochs": 3}) == [
        "source: trains on images of digits that folds are tested on; give it another dataset, or"
        " leave folds out"
    ]
    assert sweep(folds=3, source={"dataset": "mnist"}).planned[0].source.folds == 0  # type: ignore[union-attr]


def test_folds_are_described_and_made_tiny() -> None:
    one = sweep(folds=5)
    plain = json.loads(json.dumps(one.describe("x").to_json()))
    described = SweepDescription.from_json(plain, "it")
    assert described == one.describe("x")
    assert (described.folds, described.seeds, described.row_configs[0].folds) == (5, 5, 5)
    tiny = smoke(replace(one, searches=5))
    assert (tiny.folds, tiny.seeds, tiny.base.folds, tiny.searches) == (2, 2, 2, 1)
    other = replace(one, **in_folds(one, 0))
    assert (other.folds, other.seeds, other.base) == (0, 3, TrainConfig())
    assert replace(one, **in_folds(one, 10)).planned[0].config.folds == 10
