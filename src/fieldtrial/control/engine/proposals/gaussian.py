"""A Gaussian process over configurations and epochs.

Learning curves of like configurations are alike, and a curve's values go on from each other. So the
covariance of two values is a product of a kernel over configurations and one over the logarithm of
the epoch, plus a kernel over epochs alone for what all curves share (Swersky et al. 2014 have an
exponential decay instead). Both are Matérn kernels with nu = 5/2, as in Snoek et al. (2012).
"""

from dataclasses import dataclass

import numpy as np

SQRT5 = 5**0.5
JITTER = 1e-6
# Means and standard deviations of the normal priors of the logarithms: of a field's length scale in
# a cube of one dimension, of time's, and of the variances of configuration, of time, and of noise.
LENGTH, TIME_LENGTH, VARIANCE, TIME_VARIANCE, NOISE = (
    (-0.3, 0.8), (0.7, 0.7), (0.0, 0.8), (-1.5, 1.0), (-6.0, 1.5),
)  # fmt: skip
BOUND = 3.0  # standard deviations that a parameter may be from its prior's mean


@dataclass
class Points:
    """Values of learning curves.

    columns: of their configurations, [n, columns]. trial: which configuration a value is of, [m].
    time: the epoch's logarithm over that of the last epoch, [m]. values: [m].
    """

    columns: np.ndarray
    trial: np.ndarray
    time: np.ndarray
    values: np.ndarray


def priors(fields: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations of the parameters' priors.

    A cube of more dimensions has longer distances, and so longer length scales (Hvarfner et al.
    2024).
    """
    length = (LENGTH[0] + 0.5 * np.log(fields), LENGTH[1])
    rows = [*[length] * fields, TIME_LENGTH, VARIANCE, TIME_VARIANCE, NOISE]
    mean, deviation = np.array(rows).T
    return mean, deviation


class Distances:
    """Squared distances of points, by field, [m, m, fields]: what stays while parameters change."""

    def __init__(self, points: Points, field_of_column: np.ndarray) -> None:
        columns = points.columns[points.trial]
        self.fields = int(field_of_column[-1]) + 1
        squares = (columns[:, None] - columns[None]) ** 2
        if len(field_of_column) > self.fields:
            starts = np.searchsorted(field_of_column, np.arange(self.fields))
            squares = np.add.reduceat(squares, starts, axis=2)
        self.by_field = np.ascontiguousarray(np.moveaxis(squares, 2, 0)).reshape(self.fields, -1)
        self.time = np.abs(points.time[:, None] - points.time[None])


def fit(
    points: Points, field_of_column: np.ndarray, start: np.ndarray | None, steps: int
) -> np.ndarray:
    """Return the parameters with the greatest posterior density, from some steps of L-BFGS-B.

    start: parameters of an earlier fit, or None to start from the priors' means.
    """
    import scipy.optimize

    distances = Distances(points, field_of_column)
    mean, deviation = priors(distances.fields)
    found = scipy.optimize.minimize(
        _loss,
        mean if start is None else start,
        args=(points.values, distances, mean, deviation),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(mean - BOUND * deviation, mean + BOUND * deviation, strict=True)),
        options={"maxiter": steps, "maxfun": 2 * steps},
    )
    return np.asarray(found.x)


def matern(distance: np.ndarray) -> np.ndarray:
    """Return the correlation at a distance: Matérn, nu = 5/2."""
    scaled = SQRT5 * distance
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _loss(
    parameters: np.ndarray,
    values: np.ndarray,
    distances: Distances,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Return the negative log posterior density and its gradient."""
    from scipy.linalg import lapack

    fields, size = distances.fields, len(values)
    length, time_length = np.exp(parameters[:fields]), np.exp(parameters[fields])
    variance, time_variance, noise = np.exp(parameters[fields + 1 :])
    inverse_squares = 1 / length**2
    scaled = SQRT5 * np.sqrt(inverse_squares @ distances.by_field).reshape(size, size)
    decay = np.exp(-scaled)
    time_scaled = SQRT5 / time_length * distances.time
    time_decay = np.exp(-time_scaled)
    time = (1 + time_scaled + time_scaled**2 / 3) * time_decay
    by_configuration = variance * (1 + scaled + scaled**2 / 3) * decay
    product, shared = by_configuration * time, time_variance * time
    covariance = product + shared
    covariance.flat[:: size + 1] += noise + JITTER
    factor, failed = lapack.dpotrf(covariance, lower=1)
    if failed:
        return 1e10, np.zeros_like(parameters)
    inverse, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = inverse @ values
    away = (parameters - mean) / deviation
    loss = 0.5 * values @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
    outer = 0.5 * (inverse - np.outer(weights, weights))
    gradient = np.empty_like(parameters)
    slope = outer * time * (variance * 5 / 3) * (1 + scaled) * decay
    gradient[:fields] = distances.by_field @ slope.ravel() * inverse_squares
    time_slope = (time_scaled**2 / 3) * (1 + time_scaled) * time_decay
    gradient[fields] = (outer * (by_configuration + time_variance) * time_slope).sum()
    gradient[fields + 1] = (outer * product).sum()
    gradient[fields + 2] = (outer * shared).sum()
    gradient[fields + 3] = noise * np.trace(outer)
    return float(loss), gradient + away / deviation


class Posterior:
    """What is known of the last epoch's value, for any configuration."""

    def __init__(self, points: Points, field_of_column: np.ndarray, parameters: np.ndarray) -> None:
        from scipy.linalg import lapack

        fields = int(field_of_column[-1]) + 1
        self._inverse_length = np.exp(-parameters[:fields])[field_of_column]
        self._time_length = np.exp(parameters[fields])
        self._variance, self._time_variance, noise = np.exp(parameters[fields + 1 :])
        self.points = points
        self._scaled = points.columns * self._inverse_length
        correlation = matern(_distances(self._scaled, self._scaled))
        between = correlation[np.ix_(points.trial, points.trial)]
        time = matern(np.abs(points.time[:, None] - points.time[None]) / self._time_length)
        covariance = (self._variance * between + self._time_variance) * time
        covariance.flat[:: len(covariance) + 1] += noise + JITTER
        self._factor, _ = lapack.dpotrf(covariance, lower=1)
        self._half, _ = lapack.dtrtrs(self._factor, points.values, lower=1)
        self._assumed: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def assume_ends(self, columns: np.ndarray) -> None:
        """Take it as known that configurations, [n, columns], end as predicted.

        No mean changes by that. The deviations do: they are nearly 0 at these configurations.
        """
        from scipy.linalg import lapack

        if not len(columns):
            return
        half, between = self._half_at(columns), self._between_ends(columns, columns)
        covariance = between - half.T @ half
        covariance.flat[:: len(covariance) + 1] += JITTER
        factor, _ = lapack.dpotrf(covariance, lower=1)
        self._assumed = columns, half, factor

    def at_end(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the last epoch's value, [n] each."""
        from scipy.linalg import lapack

        half = self._half_at(columns)
        variance = self._variance + self._time_variance - np.einsum("ij,ij->j", half, half)
        if self._assumed is not None:
            assumed, their_half, factor = self._assumed
            covariance = self._between_ends(assumed, columns) - their_half.T @ half
            known, _ = lapack.dtrtrs(factor, covariance, lower=1)
            variance -= np.einsum("ij,ij->j", known, known)
        return self._half @ half, np.sqrt(np.maximum(variance, 1e-10))

    def _half_at(self, columns: np.ndarray) -> np.ndarray:
        """Return covariances of values [m] with ends [n], times the factor's inverse."""
        from scipy.linalg import lapack

        correlation = matern(_distances(self._scaled, columns * self._inverse_length))
        time = matern((1 - self.points.time) / self._time_length)
        covariance = (self._variance * correlation[self.points.trial] + self._time_variance) * (
            time[:, None]
        )
        half, _ = lapack.dtrtrs(self._factor, covariance, lower=1)
        return np.asarray(half)

    def _between_ends(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        distances = _distances(one * self._inverse_length, other * self._inverse_length)
        return np.asarray(self._variance * matern(distances) + self._time_variance)


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
