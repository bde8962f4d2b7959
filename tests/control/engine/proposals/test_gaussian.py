"""The Gaussian process over configurations and epochs, and the improvement that it expects."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from fieldtrial.control.engine.proposals import gaussian
from fieldtrial.control.engine.proposals.acquisition import log_expected_improvement

FIELDS = np.array([0, 1, 1, 2])  # the second field has two columns


def some_points(trials: int = 9, epochs: int = 3) -> gaussian.Points:
    generator = np.random.default_rng(5)
    times = np.log(np.arange(1, epochs + 1)) / np.log(epochs) if epochs > 1 else np.ones(1)
    return gaussian.Points(
        columns=generator.random((trials, 4)),
        trial=np.repeat(np.arange(trials), epochs),
        time=np.tile(times, trials),
        values=generator.standard_normal(trials * epochs),
    )


def test_the_gradient_is_that_of_the_loss() -> None:
    points = some_points()
    distances = gaussian.Distances(points, FIELDS)
    mean, deviation = gaussian.priors(3)
    place = mean + 0.3 * np.random.default_rng(1).standard_normal(len(mean))

    def loss(parameters: np.ndarray) -> float:
        return gaussian._loss(parameters, points.values, distances, mean, deviation)[0]

    numeric = [
        (loss(place + step) - loss(place - step)) / 2e-5 for step in 1e-5 * np.eye(len(mean))
    ]
    gradient = gaussian._loss(place, points.values, distances, mean, deviation)[1]
    assert gradient == pytest.approx(numeric, rel=1e-4, abs=1e-4)


def test_the_fit_finds_the_field_that_counts() -> None:
    points = some_points(40, 1)
    points.values = np.sin(6 * points.columns[:, 3])
    points.values = (points.values - points.values.mean()) / points.values.std()
    parameters = gaussian.fit(points, FIELDS, None, 40)
    lengths = np.exp(parameters[:3])
    assert lengths[2] < 0.5 * min(lengths[:2])


def test_what_is_known_of_the_last_epoch_is_predicted_and_far_away_nothing_is() -> None:
    points = some_points()
    points.values = np.tile([0.0, 1.0, 1.5], 9) + np.repeat(points.columns[:, 0], 3)
    parameters = gaussian.priors(3)[0]
    parameters[:3] = np.log(0.3)
    posterior = gaussian.Posterior(points, FIELDS, parameters)
    mean, deviation = posterior.at_end(points.columns)
    assert mean == pytest.approx(points.values[2::3], abs=0.1)
    assert deviation.max() < 0.1
    _, far = posterior.at_end(np.full((1, 4), 30.0))
    assert far[0] == pytest.approx(1, abs=0.1)


def test_a_curve_that_was_cut_is_predicted_with_less_certainty() -> None:
    points = some_points(9, 3)
    points.values = np.tile([0.0, 1.0, 1.5], 9) + np.repeat(np.linspace(-1, 1, 9), 3)
    kept = points.trial != 4
    kept[12] = True  # of trial 4, the first value
    cut = gaussian.Points(
        points.columns, points.trial[kept], points.time[kept], points.values[kept]
    )
    parameters = gaussian.fit(cut, FIELDS, None, 30)
    mean, deviation = gaussian.Posterior(cut, FIELDS, parameters).at_end(points.columns)
    assert mean[4] == pytest.approx(1.5, abs=0.3), "it rises as the others do"
    assert deviation[4] > 2 * deviation[[0, 1, 2, 3, 5, 6, 7, 8]].max()


def test_assumed_ends_are_what_seeing_them_would_tell() -> None:
    """The mean and the deviations are those of a model that has seen the ends, without noise."""
    points, parameters = some_points(), gaussian.priors(3)[0]
    given, asked = np.random.default_rng(2).random((2, 5, 4))
    posterior = gaussian.Posterior(points, FIELDS, parameters)
    posterior.assume_ends(given)
    found = posterior.at_end(np.concatenate([given, asked]))

    lengths, (time_length, variance, time_variance, noise) = (
        np.exp(parameters[:3])[FIELDS], np.exp(parameters[3:]),
    )  # fmt: skip

    def matern(distance: np.ndarray) -> np.ndarray:
        return np.asarray(
            (1 + 5**0.5 * distance + 5 / 3 * distance**2) * np.exp(-(5**0.5) * distance)
        )

    def covariance(
        one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        apart = np.linalg.norm((one[0][:, None] - other[0][None]) / lengths, axis=2)
        time = matern(np.abs(one[1][:, None] - other[1][None]) / time_length)
        return np.asarray((variance * matern(apart) + time_variance) * time)

    seen = points.columns[points.trial], points.time
    alone, _ = gaussian.Posterior(points, FIELDS, parameters).at_end(given)
    known = np.concatenate([seen[0], given]), np.concatenate([seen[1], np.ones(5)])
    at = np.concatenate([given, asked]), np.ones(10)
    noises = np.concatenate([np.full(len(points.values), noise), np.zeros(5)])
    inverse = np.linalg.inv(covariance(known, known) + np.diag(noises + gaussian.JITTER))
    between = covariance(at, known)
    mean = between @ inverse @ np.concatenate([points.values, alone])
    squares = np.diag(covariance(at, at) - between @ inverse @ between.T)
    assert found[0] == pytest.approx(mean, abs=1e-5)
    assert found[1] ** 2 == pytest.approx(squares, abs=1e-5)
    assert found[1][:5] == pytest.approx(0, abs=1e-2)


def test_the_expected_improvement_is_the_integral_and_goes_on_far_below_the_best() -> None:
    means, deviations = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 1.0, 0.1])
    found = np.exp(log_expected_improvement(means, deviations, 0.3))
    for mean, deviation, value in zip(means, deviations, found, strict=True):
        density = scipy.stats.norm(mean, deviation).pdf
        integral, _ = scipy.integrate.quad(lambda y, d=density: (y - 0.3) * d(y), 0.3, 6)
        assert value == pytest.approx(integral, rel=1e-6, abs=1e-12)
    far = log_expected_improvement(np.linspace(-60, 60, 900), np.ones(900), 0.0)
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
