"""What a run of task regression scored on each image; see `image_scores`."""

import numpy as np

from fieldtrial.metrics import Values, ratio
from fieldtrial.metrics_of.numbers import r2, rmse
from fieldtrial.results.verdicts.label_scores import pseudo_values


def absolute_error(target: Values, value: Values) -> Values:
    """Return the absolute error of each image, (n,)."""
    return np.abs(value - target)


def rmse_pseudo_values(target: Values, value: Values) -> Values:
    """Return the jackknife's pseudo-values of the root of the mean squared error, (n,)."""
    squares = np.square(value - target)
    without = np.sqrt(np.maximum(squares.sum() - squares, 0) / (len(squares) - 1))
    return pseudo_values(rmse(target, value), without)


def r2_pseudo_values(target: Values, value: Values) -> Values:
    """Return the jackknife's pseudo-values of the coefficient of determination, (n,)."""
    count, squares = len(target), np.square(value - target)
    deviations = np.square(target - target.mean())
    # without an image, the mean of the others is another one
    spread = deviations.sum() - deviations * count / (count - 1)
    is_flat = spread <= 1e-12 * deviations.sum()
    errors = np.where(is_flat, 0.0, squares.sum() - squares)
    return pseudo_values(r2(target, value), 1 - ratio(errors, np.where(is_flat, 0, spread), 1.0))
