"""GaussianSearcher: proposes the configuration that may improve most on the best one."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldtrial.control.engine.proposals import gaussian
from fieldtrial.control.engine.proposals.acquisition import log_expected_improvement
from fieldtrial.control.engine.proposals.curves import (
    MOST_RUNNING,
    Curve,
    chosen,
    rungs,
    to_points,
)
from fieldtrial.control.engine.proposals.space import Space
from fieldtrial.disk.sweep_description import Mode
from fieldtrial.search_domains import Domain

GROWTH = 1.2  # of the number of known trials, after which the model's parameters are fitted again
FIRST_STEPS, STEPS = 20, 10  # of a fit: the first one, and one from an earlier fit's parameters
CANDIDATES, NEAR = 160, 48  # at first, half of them random; then near the best of these, twice
ROUNDS = 2
CENTRES = 5
# How much better than the best trial another one must become to count, in standard deviations of
# all values. Every other proposal looks for any improvement, beside the best trial; those between
# look for large ones, elsewhere, unless the logarithm of the one to be expected is below the least:
# then all candidates are some seven deviations too low. A trial goes on if it may become better by
# MARGIN.
MARGINS = (0.0, 0.5)
LEAST_IMPROVEMENT = -25.0
MARGIN = 0.1
STOP = "STOP"  # as Ray Tune's schedulers say it
LEAST_CHANCE = 0.15  # to become the best one, of a trial that goes on
LEAST_KNOWN = 5  # trials of which values are known, before any is stopped


class GaussianSearcher:
    """A searcher with a Gaussian process over configurations and learning curves.

    A trial that was stopped early is known by the part of its curve that there is, and the process
    predicts the rest (after Swersky et al. 2014). What is proposed has the greatest expected
    improvement at the last epoch on the best trial (Jones et al. 1998, in logarithms after Ament et
    al. 2023). A trial that runs is assumed to end as predicted (the "kriging believer" of
    Ginsbourger et al. 2010), so that trials proposed at the same time differ. So is a trial that
    was stopped: nobody will see its end, and one like it would be stopped again.

    The first proposals are a low-discrepancy sequence, the same for all rows with one seed. What is
    proposed depends on the seed and on what the searcher was told, and on nothing else.

    At the rungs it says which trials may be stopped: those with little chance to become the best by
    a margin.

    Its methods are those of Ray Tune's searchers that a row calls.

    search: the fields' domains. score, time: the result's keys of value and epoch. epochs: of the
    longest trial. first_rung: the epoch at which trials may be stopped at first. first: how many
    proposals learn from no result.
    """

    def __init__(
        self,
        search: Mapping[str, Domain],
        *,
        score: str,
        time: str,
        mode: Mode,
        epochs: int,
        first_rung: int,
        first: int,
        seed: int,
    ) -> None:
        self._space = Space(search)
        self._score, self._time = score, time
        self._sign = 1.0 if mode == "max" else -1.0
        self._epochs, self._first, self._seed = epochs, first, seed % 2**32
        self._rungs = rungs(epochs, first_rung)
        self._curves: dict[str, Curve] = {}
        self._parameters: np.ndarray | None = None
        self._fitted = 0  # trials that were known at the last fit

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial, as a command line has them."""
        with _one_thread():
            values = self._space.values(self._next_point().tolist())
        self._curves[trial_id] = self._new_curve(values)
        return values

    def suggest_again(self, trial_id: str, values: Mapping[str, Any]) -> None:
        """Make a proposal again, which was `values`.

        Another processor rounds in another way, and its best candidate may be another one. So the
        model is fitted as it was, but the trial has the values that it had.
        """
        with _one_thread():
            self._next_point()
        self._curves[trial_id] = self._new_curve(values)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> str | None:
        """Take the best value of a trial so far, after an epoch.

        Returns STOP at a rung if the trial has little chance to become the best one.
        """
        value, curve = self._sign * float(result[self._score]), self._curves.get(trial_id)
        if curve is None or not math.isfinite(value):
            return None
        epoch = int(result[self._time])
        curve.add(epoch, value, self._rungs)
        is_asked = epoch in self._rungs and epoch < curve.epochs
        return STOP if is_asked and self._is_hopeless(curve) else None

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the end of a trial. Of one that failed, nothing is learned, not even its curve."""
        if trial_id not in self._curves:
            return
        curve = self._curves[trial_id]
        curve.running = False
        value = math.nan if error or not result else self._sign * float(result[self._score])
        if result and math.isfinite(value):
            curve.end(int(result.get(self._time, curve.epochs)), value)
        else:
            curve.values = {}

    def add_evaluated_point(self, parameters: Mapping[str, Any], value: float) -> None:
        """Take a trial that was not proposed here, with the value that it ended with.

        That counts as its last epoch's, also where the trial was stopped early.
        """
        curve = self._new_curve(parameters)
        curve.running = False
        if math.isfinite(value):
            curve.end(curve.epochs, self._sign * float(value))
        self._curves[f"point {len(self._curves)}"] = curve

    def _new_curve(self, values: Mapping[str, Any]) -> Curve:
        point = self._space.point(values)
        columns = self._space.columns(point[None])[0].tolist()
        return Curve(point.tolist(), columns, int(values.get("epochs", self._epochs)))

    def _next_point(self) -> np.ndarray:
        """Return the point of the unit cube that is proposed next."""
        number = len(self._curves)
        generator = np.random.default_rng([self._seed, number])
        known = [curve for curve in self._curves.values() if curve.values]
        tried = {tuple(curve.columns) for curve in self._curves.values()}
        if number < self._first or len(known) < 2:
            sequence = self._space.sequence(self._seed, number)
            candidates = np.concatenate([sequence, self._random(generator, CANDIDATES)])
            return self._first_new(candidates, tried)
        curves = chosen(known)
        chosen_ids = set(map(id, curves))
        running = [curve for curve in self._curves.values() if curve.running][-MOST_RUNNING:]
        others = [curve for curve in running if id(curve) not in chosen_ids]
        configurations = [*curves, *others]
        columns = np.array([curve.columns for curve in configurations])
        posterior = self._posterior(curves)
        posterior.assume_ends(columns[[not curve.is_whole for curve in configurations]])
        mean, _ = posterior.at_end(columns)
        points = np.array([curve.point for curve in configurations])
        centres = points[np.argsort(-mean)[:CENTRES]]
        levels = float(mean.max()), float(mean.max()) + MARGINS[number % len(MARGINS)]
        return self._best_candidate(posterior, levels, centres, tried, generator)

    def _is_hopeless(self, curve: Curve) -> bool:
        """Return whether a trial will hardly end better than the best one is expected to."""
        from scipy.special import ndtr

        known = [one for one in self._curves.values() if one.values]
        if len(known) < LEAST_KNOWN or len({one.last for one in known}) == 1:
            return False  # where all are equal, no difference says what a large one is
        with _one_thread():
            posterior = self._posterior(chosen(known, curve))
            mean, deviation = posterior.at_end(posterior.points.columns)
        chance = ndtr((mean[-1] - mean[:-1].max() - MARGIN) / deviation[-1])
        return bool(chance < LEAST_CHANCE)

    def _posterior(self, curves: Sequence[Curve]) -> gaussian.Posterior:
        """Return the posterior of the known values.

        Its parameters are fitted again whenever the number of known trials has grown by GROWTH.
        """
        points = to_points(curves)
        columns = self._space.field_of_column
        known = sum(bool(curve.values) for curve in self._curves.values())
        if self._parameters is None or known >= GROWTH * self._fitted:
            steps = FIRST_STEPS if self._parameters is None else STEPS
            self._parameters = gaussian.fit(points, columns, self._parameters, steps)
            self._fitted = known
        return gaussian.Posterior(points, columns, self._parameters)

    def _best_candidate(
        self,
        posterior: gaussian.Posterior,
        levels: tuple[float, float],
        centres: np.ndarray,
        tried: set[tuple[float, ...]],
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Return the candidate with the greatest expected improvement, of those not tried yet.

        levels: the value of the best trial, and a value at or above it. The improvement is over the
        second one, or over the first one where no candidate can be expected to exceed the second.
        """
        listed = self._space.all_points
        half = CANDIDATES // 2
        candidates = listed
        if candidates is None:
            candidates = np.concatenate(
                [self._random(generator, half), self._space.near(centres, half, 1.0, generator)]
            )
        best, highest = levels
        mean, deviation = posterior.at_end(self._space.columns(candidates))
        improvements = log_expected_improvement(mean, deviation, highest)
        if improvements.max() < LEAST_IMPROVEMENT:
            improvements = log_expected_improvement(mean, deviation, best)
        else:
            best = highest
        ranked = candidates[np.argsort(-improvements, kind="stable")]
        if listed is not None:
            return self._first_new(ranked, tried)
        for round_ in range(ROUNDS):
            top = ranked[:CENTRES]
            near = self._space.near(top, NEAR, 0.3 / (round_ + 1), generator)
            ranked = _ranked(self._space, posterior, best, np.concatenate([top, near]))
        return self._first_new(ranked, tried)

    def _first_new(self, points: np.ndarray, tried: set[tuple[float, ...]]) -> np.ndarray:
        """Return the first point that is not tried yet, or if all are, the first one."""
        for point, columns in zip(points, self._space.columns(points).tolist(), strict=True):
            if tuple(columns) not in tried:
                return np.asarray(point)
        return np.asarray(points[0])

    def _random(self, generator: np.random.Generator, count: int) -> np.ndarray:
        return generator.random((count, len(self._space.fields)))


def _ranked(
    space: Space, posterior: gaussian.Posterior, best: float, candidates: np.ndarray
) -> np.ndarray:
    """Return candidates, those with the greatest expected improvement first."""
    mean, deviation = posterior.at_end(space.columns(candidates))
    improvements = log_expected_improvement(mean, deviation, best)
    return np.asarray(candidates[np.argsort(-improvements, kind="stable")])


def _one_thread() -> Any:
    """Return a context in which matrix products use one thread: more are slower for small ones."""
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  its library of matrix products is another one than numpy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
