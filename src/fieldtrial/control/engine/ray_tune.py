"""Ray Tune's searcher, which proposes configurations, and its scheduler, which stops poor ones."""

import warnings
from collections.abc import Mapping
from typing import Literal

import optuna
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain

from fieldtrial.fields.values import format_value

SCORE = "score"  # the best value of the sweep's `select` so far
TIME = "training_iteration"  # Ray Tune's name for the epoch
MOST_RANDOM_TRIALS = 10

optuna.logging.set_verbosity(optuna.logging.ERROR)


def build_searcher(
    search: Mapping[str, Domain], mode: Literal["max", "min"], trials: int, seed: int
) -> Searcher:
    """Return a tree-structured Parzen estimator over `search`.

    The method is that of Bergstra et al. (2011), multivariate after Falkner et al. (2018).

    Running trials count as bad ones (the "constant liar" of Ginsbourger et al. 2010), so that
    trials proposed at the same time differ. The first trials are random; with the same `seed` and
    search space they are the same.
    """
    space = OptunaSearch.convert_search_space(
        {name: _as_text(domain) for name, domain in search.items()}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=random_trials(trials),
            multivariate=True,
            constant_liar=True,
            seed=seed % 2**32,  # numpy takes no more
        )
    return OptunaSearch(space, metric=SCORE, mode=mode, sampler=sampler)


def random_trials(trials: int) -> int:
    """Return how many of a search's trials are random: a third, at most ten."""
    return min(MOST_RANDOM_TRIALS, max(1, trials // 3))


def grace_period(epochs: int) -> int:
    """Return after how many epochs a trial may be stopped at first: a fifth of them.

    A shorter period was measured to be worse than random search: it stops trials that learn slowly.
    """
    return max(1, -(-epochs // 5))


def build_scheduler(epochs: int, mode: Literal["max", "min"]) -> TrialScheduler:
    """Return asynchronous successive halving (Li et al. 2020) over at most `epochs` epochs.

    Each rung halves the trials.
    """
    return ASHAScheduler(
        time_attr=TIME,
        metric=SCORE,
        mode=mode,
        max_t=epochs,
        grace_period=grace_period(epochs),
        reduction_factor=2,
        stop_last_trials=False,
    )


def _as_text(domain: Domain) -> Domain:
    """Return a choice among tuples as one among their texts: Optuna takes plain values only."""
    if isinstance(domain, Categorical) and any(
        isinstance(value, list | tuple) for value in domain.categories
    ):
        texts = Categorical(
            [
                format_value(tuple(value) if isinstance(value, list) else value)
                for value in domain.categories
            ]
        )
        texts.set_sampler(domain.get_sampler())
        return texts
    return domain
