"""The searcher, which proposes configurations, and Ray Tune's scheduler, which stops poor ones."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from fieldtrial.control.engine.proposals.searcher import GaussianSearcher
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.fields.choices import SearcherName
from fieldtrial.search_domains import Domain, to_ray, with_texts

SCORE = "score"  # the best value of the sweep's `select` so far
TIME = "training_iteration"  # Ray Tune's name for the epoch
MOST_RANDOM_TRIALS = 10


class Searched(Protocol):
    """What decides on a search: a sweep has it."""

    @property
    def search(self) -> Mapping[str, Domain]:
        """The domain of each searched field."""

    @property
    def mode(self) -> Mode:
        """Whether a large value is good or a small one."""

    @property
    def trials(self) -> int:
        """How many trials a search has."""

    @property
    def searcher(self) -> SearcherName:
        """What proposes them."""


class Searcher(Protocol):
    """What a row calls of a searcher. Results have the keys SCORE and TIME."""

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the values of a new trial, as a command line has them."""

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> str | None:
        """Take the best value of a trial so far, after an epoch. May return that it is to stop."""

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the end of a trial."""

    def add_evaluated_point(self, parameters: dict[str, Any], value: float) -> None:
        """Take a trial that the searcher has not proposed."""


def build_searcher(sweep: Searched, epochs: int, seed: int) -> Searcher:
    """Return what proposes the trials of a search: by default, a Gaussian process.

    epochs: of the longest trial. The first proposals learn from no result; with the same `seed` and
    search space they are the same.
    """
    if sweep.searcher == "tpe":
        return _parzen_estimator(sweep, seed)
    return GaussianSearcher(
        sweep.search,
        score=SCORE,
        time=TIME,
        mode=sweep.mode,
        epochs=epochs,
        first_rung=grace_period(epochs),
        first=random_trials(sweep.trials),
        seed=seed,
    )


def _parzen_estimator(sweep: Searched, seed: int) -> Searcher:
    """Return Optuna's tree-structured Parzen estimator, as a searcher of Ray Tune.

    The method is that of Bergstra et al. (2011), multivariate after Falkner et al. (2018).

    Running trials count as bad ones (the "constant liar" of Ginsbourger et al. 2010), so that
    trials proposed at the same time differ.
    """
    import optuna  # takes most of a second
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = OptunaSearch.convert_search_space(
        {name: to_ray(with_texts(domain)) for name, domain in sweep.search.items()}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=random_trials(sweep.trials),
            multivariate=True,
            constant_liar=True,
            seed=seed % 2**32,  # numpy takes no more
        )
    searcher: Searcher = OptunaSearch(space, metric=SCORE, mode=sweep.mode, sampler=sampler)
    return searcher


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
