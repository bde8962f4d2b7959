"""The searcher with a Gaussian process, told values of functions that are known."""

import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fieldtrial.control.engine.proposals import gaussian
from fieldtrial.control.engine.proposals.curves import MOST_TRIALS
from fieldtrial.control.engine.proposals.searcher import GaussianSearcher
from fieldtrial.search_domains import (
    Domain,
    choice,
    contains,
    lograndint,
    loguniform,
    randint,
    uniform,
)

EPOCHS = 20
MIXED: dict[str, Domain] = {
    "lr": loguniform(1e-4, 1e-1),
    "momentum": uniform(0, 1),
    "batch_size": lograndint(8, 129),
    "optimizer": choice(["sgd", "adam", "adamw"]),
}
RATE: dict[str, Domain] = {"lr": loguniform(1e-4, 1e-1)}
Told = Mapping[str, Any]


def make(search: Mapping[str, Domain] = MIXED, seed: int = 0, **given: Any) -> GaussianSearcher:
    settings = {"mode": "max", "epochs": EPOCHS, "first_rung": 4, "first": 6, **given}
    return GaussianSearcher(search, score="score", time="epoch", seed=seed, **settings)


def quality(values: Told) -> float:
    """Best with lr 0.01, momentum 0.9, batches of 32, adamw: 1 there."""
    away = (math.log10(values["lr"]) + 2) ** 2 + 4 * (values["momentum"] - 0.9) ** 2
    away += (math.log2(values["batch_size"]) - 5) ** 2 / 16
    return float(1 - away / 4 - (values["optimizer"] != "adamw") * 0.2)


def train(searcher: GaussianSearcher, trial: str, value: float, epochs: int = EPOCHS) -> None:
    """Tell a curve that rises to a value; of a stopped trial, the first epochs."""
    for epoch in range(1, epochs + 1):
        so_far = value - 0.5 / epoch + 0.5 / EPOCHS
        searcher.on_trial_result(trial, {"score": so_far, "epoch": epoch})
    searcher.on_trial_complete(trial, {"score": so_far, "epoch": epochs})


def search(
    searcher: GaussianSearcher, trials: int, value: Callable[[Told], float] = quality
) -> list[dict[str, Any]]:
    found = []
    for number in range(trials):
        values = searcher.suggest(str(number))
        train(searcher, str(number), value(values))
        found.append(values)
    return found


def at_once(searcher: GaussianSearcher, trials: int, slots: int = 8) -> list[dict[str, Any]]:
    """Search with trials that run in batches."""
    found: list[dict[str, Any]] = []
    for start in range(0, trials, slots):
        batch = {str(start + one): searcher.suggest(str(start + one)) for one in range(slots)}
        for name, values in batch.items():
            train(searcher, name, quality(values))
        found += batch.values()
    return found


def test_the_search_is_far_better_than_its_first_proposals() -> None:
    for seed in range(3):
        values = [quality(one) for one in search(make(seed=seed), 25)]
        assert max(values) > 0.98
        assert max(values[:6]) < 0.95
        assert sum(values[15:]) / 10 > sum(values[:6]) / 6 + 0.2


def test_eight_at_once_differ_and_are_nearly_as_good() -> None:
    for seed in range(3):
        found = at_once(make(seed=seed), 40)
        assert len({repr(one) for one in found}) == 40
        assert max(map(quality, found)) > 0.97


def test_a_loss_is_best_when_small() -> None:
    found = search(make(mode="min"), 25, lambda values: -quality(values))
    assert max(map(quality, found)) > 0.98


def test_every_proposal_is_in_its_domain() -> None:
    for values in search(make(), 20):
        assert all(contains(MIXED[name], value) for name, value in values.items())


def test_one_seed_repeats_and_another_differs_from_the_first_proposal_on() -> None:
    assert search(make(), 12) == search(make(), 12)
    assert search(make(), 2)[0] != search(make(seed=1), 2)[0]


def test_the_first_proposals_depend_on_no_result() -> None:
    good, poor = search(make(), 9), search(make(), 9, lambda values: -quality(values))
    assert good[:6] == poor[:6]
    assert good[6:] != poor[6:]


def test_a_search_that_was_kept_goes_on_as_if_nothing_had_happened() -> None:
    whole = search(make(), 14)
    searcher = make()
    search(searcher, 10)
    running = searcher.suggest("10")
    again = pickle.loads(pickle.dumps(searcher))
    train(again, "10", quality(running))
    found = []
    for number in range(11, 14):
        values = again.suggest(str(number))
        train(again, str(number), quality(values))
        found.append(values)
    assert found == whole[11:]


def test_a_stopped_trial_is_known_by_its_curve() -> None:
    """A good trial that was stopped early is looked for more near by than a poor one."""
    proposals = []
    for value in (0.5, -0.5):
        searcher = make(RATE)
        for number in range(7):
            rate = searcher.suggest(str(number))["lr"]
            train(searcher, str(number), 0.3 if rate < 1e-3 else -0.3)
        point = {"lr": searcher.suggest("7")["lr"]}
        train(searcher, "7", value, epochs=4)
        proposals.append(abs(math.log(searcher.suggest("8")["lr"] / point["lr"])))
    assert proposals[0] < proposals[1]


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_end_of_the_space_that_was_stopped_at_once_is_not_proposed_again(
    mirrored: bool,
) -> None:
    """Found in a row of five trials: three of them had the least learning rate."""
    searcher = make({"lr": loguniform(1e-5, 1e-1)}, epochs=10, first_rung=2, first=1)
    curves = {  # of power of ten: validation accuracies
        -4.0: [0.13, 0.15, 0.17, 0.19, 0.20, 0.21, 0.22, 0.23, 0.24, 0.24],
        -1.5: [0.14, 0.17, 0.19, 0.20, 0.21, 0.21, 0.22, 0.22],
        -5.0: [0.10, 0.10],
    }
    for number, (power, values) in enumerate(curves.items()):
        searcher.suggest_again(str(number), {"lr": 10 ** (-6 - power if mirrored else power)})
        for epoch, value in enumerate(values, 1):
            searcher.on_trial_result(str(number), {"score": value, "epoch": epoch})
        searcher.on_trial_complete(str(number), {"score": value, "epoch": epoch})
    power = math.log10(searcher.suggest("3")["lr"])
    assert -4 < (-6 - power if mirrored else power) < -1.5


@pytest.mark.parametrize("first_rung", [4, 8])
def test_a_trial_that_cannot_become_the_best_is_stopped_at_a_rung_and_a_good_one_is_not(
    first_rung: int,
) -> None:
    decisions = {}
    for value in (1.0, -0.5):
        searcher = make(RATE, first_rung=first_rung)
        for number in range(6):
            rate = searcher.suggest(str(number))["lr"]
            train(searcher, str(number), 0.3 - 0.1 * abs(math.log10(rate) + 2))
        searcher.suggest("6")
        decisions[value] = [
            searcher.on_trial_result("6", {"score": value - 0.5 / epoch, "epoch": epoch})
            for epoch in range(1, EPOCHS + 1)
        ]
    assert set(decisions[1.0]) == {None}
    assert decisions[-0.5].index("STOP") == first_rung - 1
    assert decisions[-0.5][-1] is None, "it ends anyway"


def test_no_trial_is_stopped_while_few_are_known() -> None:
    searcher = make(RATE)
    for number, value in enumerate((0.5, 0.4, 0.3, -5.0)):
        searcher.suggest(str(number))
        for epoch in range(1, EPOCHS + 1):
            told = {"score": value - 0.5 / epoch, "epoch": epoch}
            assert searcher.on_trial_result(str(number), told) is None


def test_no_trial_is_stopped_while_all_are_equal() -> None:
    """As accuracies are before anything is learned: the next one may be the first that learns."""
    searcher = make(RATE)
    for number in range(8):
        searcher.suggest(str(number))
        for epoch in range(1, EPOCHS + 1):
            assert searcher.on_trial_result(str(number), {"score": 0.1, "epoch": epoch}) is None
        searcher.on_trial_complete(str(number), {"score": 0.1, "epoch": EPOCHS})


def test_failures_and_values_that_are_no_numbers_teach_nothing() -> None:
    told, untold = make(), make()
    for number in range(12):
        values = told.suggest(str(number))
        assert untold.suggest(str(number)) == values
        if number % 3 == 1:
            told.on_trial_result(str(number), {"score": 0.4, "epoch": 1})
            told.on_trial_complete(str(number), error=True)
            untold.on_trial_complete(str(number), {"score": math.nan, "epoch": 1})
        else:
            told.on_trial_result(str(number), {"score": math.nan, "epoch": 1})
            for searcher in (told, untold):
                train(searcher, str(number), quality(values))
    assert told.suggest("12") == untold.suggest("12")


def test_a_trial_that_diverged_after_a_good_start_is_a_bad_one() -> None:
    searcher = make({"lr": loguniform(1e-4, 1e4)})
    rates = []
    for number in range(30):
        rate = searcher.suggest(str(number))["lr"]
        rates.append(rate)
        if rate > 1:
            searcher.on_trial_result(str(number), {"score": 0.9, "epoch": 1})
            searcher.on_trial_complete(str(number), {"score": 0.1, "epoch": EPOCHS})
        else:
            train(searcher, str(number), 0.3 - 0.01 * (math.log10(rate) + 2) ** 2)
    assert sum(rate > 1 for rate in rates[:6]) >= 2
    assert sum(rate > 1 for rate in rates[6:]) <= 8  # of 24; half of the space is beyond 1


@pytest.mark.parametrize("value", [0.0, 0.5, -1e30, 1e-300])
def test_trials_may_all_have_one_value(value: float) -> None:
    searcher = make()
    for number in range(12):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"score": value, "epoch": EPOCHS})
    assert len({repr(searcher.suggest(f"more {number}")) for number in range(4)}) == 4


def test_a_huge_loss_does_not_hide_the_difference_between_small_ones() -> None:
    def loss(values: Told) -> float:
        return 1e25 if values["lr"] > 3e-2 else 1 - quality(values)

    found = search(make(mode="min"), 35, loss)
    assert max(map(quality, found)) > 0.96


@pytest.mark.parametrize(
    ("domains", "size"),
    [
        ({"optimizer": choice(["sgd"])}, 1),
        ({"optimizer": choice(["sgd", "adam"]), "epochs": randint(2, 4)}, 4),
        ({"lr": uniform(0.1, 0.1)}, 1),
    ],
)
def test_a_small_space_is_used_up_before_anything_is_proposed_again(
    domains: dict[str, Domain], size: int
) -> None:
    searcher = make(domains, first=2)
    found = search(searcher, size + 3, lambda values: len(repr(values)) / 100)
    assert len({repr(one) for one in found[:size]}) == size


def test_a_point_of_another_search_counts_as_if_it_had_been_proposed_here() -> None:
    searcher = make(RATE)
    for power in range(-40, -10):
        rate = 10 ** (power / 10)
        searcher.add_evaluated_point({"lr": rate}, 1 - abs(math.log10(rate) + 2.55))
    assert searcher.suggest("0")["lr"] == pytest.approx(10**-2.55, rel=0.1)


def test_epochs_may_be_searched() -> None:
    searcher = make({"epochs": randint(2, EPOCHS + 1), "lr": loguniform(1e-4, 1e-1)})
    for number in range(16):
        values = searcher.suggest(str(number))
        score = values["epochs"] / EPOCHS - abs(math.log10(values["lr"]) + 2)
        searcher.on_trial_result(str(number), {"score": score, "epoch": values["epochs"]})
        searcher.on_trial_complete(str(number), {"score": score, "epoch": values["epochs"]})
    found = searcher.suggest("16")
    assert found["epochs"] >= EPOCHS - 3
    assert found["lr"] == pytest.approx(1e-2, rel=0.5)


def test_a_long_row_is_searched_with_a_model_of_constant_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    class Counted(gaussian.Posterior):
        def __init__(self, points: gaussian.Points, *given: Any) -> None:
            sizes.append(len(points.columns))
            super().__init__(points, *given)

    monkeypatch.setattr(gaussian, "Posterior", Counted)
    searcher = make(RATE)
    for number in range(3 * MOST_TRIALS):
        rate = 10 ** (-4 + 3 * ((number * 0.618) % 1))
        searcher.add_evaluated_point({"lr": rate}, 1 - abs(math.log10(rate) + 2.55))
    assert searcher.suggest("0")["lr"] == pytest.approx(10**-2.55, rel=0.05)
    assert searcher.on_trial_result("0", {"score": 0.0, "epoch": 4}) == "STOP"
    assert sizes == [MOST_TRIALS, MOST_TRIALS + 1], "and the trial that is asked about"
