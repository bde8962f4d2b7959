"""Which searcher a sweep's rows have."""

from dataclasses import replace

import optuna
import pytest
from ray.tune.search.optuna import OptunaSearch

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.proposals.searcher import GaussianSearcher
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_searcher
from fieldtrial.search_domains import choice, loguniform, to_ray
from fieldtrial.sweep import Sweep

SWEEP = Sweep(
    base=TrainConfig(epochs=4),
    rows=[{"model": "cnn"}],
    search={"lr": loguniform(1e-4, 1e-1), "optimizer": choice(["sgd", "adam"])},
    trials=12,
)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_is_optunas_own_with_a_third_of_the_trials_random() -> None:
    own = build_searcher(replace(SWEEP, searcher="tpe"), 4, 5)
    domains = {name: to_ray(domain) for name, domain in SWEEP.search.items()}
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=4, multivariate=True, constant_liar=True, seed=5
    )
    space = OptunaSearch.convert_search_space(domains)
    plain = OptunaSearch(space, metric=SCORE, mode="max", sampler=sampler)
    for number in range(12):
        proposed = [searcher.suggest(str(number)) for searcher in (own, plain)]
        assert proposed[0] == proposed[1]
        result = {SCORE: proposed[0]["lr"], TIME: 4}
        for searcher in (own, plain):
            searcher.on_trial_complete(str(number), result=result)


def test_a_sweep_searches_with_a_gaussian_process_unless_it_says_otherwise() -> None:
    assert isinstance(build_searcher(SWEEP, 4, 5), GaussianSearcher)
