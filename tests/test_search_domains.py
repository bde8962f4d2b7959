"""The domains of a search mean what Ray Tune's of the same names mean."""

import math
from typing import Any

import pytest
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from fieldtrial import search_domains as own
from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.sweep import Sweep

PAIRS: dict[str, tuple[own.Domain, Any]] = {
    "uniform": (own.uniform(0, 0.2), tune.uniform(0, 0.2)),
    "quniform": (own.quniform(0.1, 0.5, 0.1), tune.quniform(0.1, 0.5, 0.1)),
    "loguniform": (own.loguniform(1e-4, 1e-1), tune.loguniform(1e-4, 1e-1)),
    "randint": (own.randint(1, 9), tune.randint(1, 9)),
    "qrandint": (own.qrandint(8, 64, 8), tune.qrandint(8, 64, 8)),
    "lograndint": (own.lograndint(1, 100), tune.lograndint(1, 100)),
    "choice": (own.choice(["sgd", "adamw"]), tune.choice(["sgd", "adamw"])),
    "choice of lists": (own.choice([[8, 8], (16,)]), tune.choice([[8, 8], (16,)])),
}
NORMAL = tune.randn()


@pytest.mark.parametrize("name", PAIRS)
def test_a_domain_is_that_of_ray_tune(name: str) -> None:
    ours, rays = PAIRS[name]
    assert own.to_domain(rays) == ours
    assert own.to_domain(ours) is ours


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "choice of lists"])
def test_a_searcher_gets_what_it_would_get_from_ray_tune(name: str) -> None:
    ours, rays = PAIRS[name]
    converted = OptunaSearch.convert_search_space({"a": own.to_ray(ours)})
    assert converted == OptunaSearch.convert_search_space({"a": rays})


def test_a_logarithmic_range_with_steps_stays_one() -> None:
    domain = own.to_domain(tune.qloguniform(0.1, 10, 0.1))
    assert (domain.is_log, domain.step) == (True, 0.1)
    assert own.to_domain(own.to_ray(domain)) == domain


def test_the_ends_are_what_a_search_can_propose() -> None:
    assert own.extremes(own.randint(1, 9)) == [1, 8]
    assert own.extremes(own.qrandint(8, 64, 8)) == [8, 64]
    assert own.contains(own.qrandint(8, 64, 8), 24)
    assert not own.contains(own.qrandint(8, 64, 8), 25)
    assert not own.contains(own.randint(1, 9), 9)


def test_a_sweep_takes_both_and_is_the_same() -> None:
    def sweep(domain: Any) -> Sweep:
        return Sweep(base=TrainConfig(), rows=[{"model": "mlp"}], search={"lr": domain})

    ours, rays = sweep(own.loguniform(1e-4, 0.1)), sweep(tune.loguniform(1e-4, 0.1))
    assert ours == rays
    assert ours.describe("a") == rays.describe("a")


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        (0.1, "0.1: must be a domain: uniform, loguniform, randint, choice, ..."),
        (own.uniform(0.2, 0.1), "uniform(0.2, 0.1): must end where it begins, or above"),
        (own.uniform(0.1, math.inf), "uniform(0.1, inf): must end where it begins, or above"),
        (
            own.loguniform(0, 0.1),
            "loguniform(0, 0.1): must begin above 0, because it is even by logarithms",
        ),
        (
            own.quniform(0.1, 0.5, 0.2),
            "uniform(0.1, 0.5) in steps of 0.2: must begin and end at a multiple of its step",
        ),
        (
            own.quniform(0.1, 0.5, 0),
            "uniform(0.1, 0.5) in steps of 0: must have a step above 0",
        ),
        # The name of the case: processes that share out the tests must give it the same.
        pytest.param(NORMAL, f"{NORMAL!r}: must be a domain: uniform", id="normal"),
    ],
)
def test_an_impossible_domain_is_refused(domain: Any, problem: str) -> None:
    if repr(domain).startswith("<"):
        problem = "must be a domain"  # Ray's domains show their address
    with pytest.raises(ConfigError) as raised:
        Sweep(base=TrainConfig(), rows=[{"model": "mlp"}], search={"lr": domain})
    assert problem in str(raised.value)
    assert str(raised.value).startswith("sweep: search lr = ")
