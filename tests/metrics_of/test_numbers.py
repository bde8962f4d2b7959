"""Metrics of regression: the numbers are those of scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from fieldtrial.metrics_of import numbers


def test_the_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    target = random.normal(50, 20, 40)
    value = target + random.normal(3, 8, 40)
    assert numbers.summary(target, value) == pytest.approx(
        {
            "mae": mean_absolute_error(target, value),
            "rmse": root_mean_squared_error(target, value),
            "r2": r2_score(target, value),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("value", [3.0, 4.0])
def test_equal_targets_leave_nothing_to_explain(value: float) -> None:
    target, answer = np.full(5, 3.0), np.full(5, value)
    assert numbers.r2(target, answer) == r2_score(target, answer)
