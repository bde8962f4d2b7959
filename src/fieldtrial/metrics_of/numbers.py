"""Metrics of regression: numpy arrays in, numbers out.

`target` and `value` are float64 (n,): the true numbers, and those that a network gave.
"""

import numpy as np

from fieldtrial.metrics import Values


def mae(target: Values, value: Values) -> float:
    """Return the mean absolute error, in the numbers' unit."""
    return float(np.abs(value - target).mean())


def rmse(target: Values, value: Values) -> float:
    """Return the root of the mean squared error, in the numbers' unit."""
    return float(np.sqrt(np.square(value - target).mean()))


def r2(target: Values, value: Values) -> float:
    """Return the coefficient of determination: 1 minus the squared errors over those of the mean.

    It is below 0 where the mean of `target` is the better answer. Where all targets are equal it is
    0, or 1 without any error, as in scikit-learn's r2_score.
    """
    errors, spread = np.square(value - target).sum(), np.square(target - target.mean()).sum()
    if spread == 0:
        return float(errors == 0)
    return float(1 - errors / spread)


def summary(target: Values, value: Values) -> dict[str, float]:
    """Return mae, rmse and r2."""
    return {"mae": mae(target, value), "rmse": rmse(target, value), "r2": r2(target, value)}
