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
    trials proposed at the same time differ. A third of the trials, at most ten, are random.
    """
    space = OptunaSearch.convert_search_space(
        {name: _as_text(domain) for name, domain in search.items()}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=min(MOST_RANDOM_TRIALS, max(1, trials // 3)),
            multivariate=True,
            constant_liar=True,
            seed=seed,
        )
    return OptunaSearch(space, metric=SCORE, mode=mode, sampler=sampler)


def build_scheduler(epochs: int, mode: Literal["max", "min"]) -> TrialScheduler:
    """Return asynchronous successive halving (Li et al. 2020) over at most `epochs` epochs.

    The grace period is a fifth of the epochs, and each rung halves the trials. A shorter grace
    period was measured to be worse than random search: it stops trials that learn slowly.
    """
    grace = max(1, -(-epochs // 5))
    return ASHAScheduler(
        time_attr=TIME,
        metric=SCORE,
        mode=mode,
        max_t=epochs,
        grace_period=grace,
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
