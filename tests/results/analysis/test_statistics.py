"""The mean and its interval against worked examples."""

import math

import pytest

from fieldtrial.results.analysis.statistics import estimate_mean


def test_students_sleep_data() -> None:
    # Student (1908), "The probable error of a mean": gained hours of sleep; R's t.test(extra) gives
    # 0.7001142 2.4598858
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    mean, half_width, n = estimate_mean(gained)
    assert mean == pytest.approx(1.58)
    assert n == 10
    assert half_width == pytest.approx((2.4598858 - 0.7001142) / 2, abs=1e-7)


@pytest.mark.parametrize(
    ("values", "quantile"),  # t(0.975) of 2, 4 and 9 degrees of freedom, from the tables
    [([90, 92, 94], 4.303), ([1, 2, 3, 4, 5], 2.776), (list(range(10)), 2.262)],
)
def test_quantiles_of_the_tables(values: list[float], quantile: float) -> None:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half_width = estimate_mean(values).half_width
    assert half_width == pytest.approx(quantile * deviation / math.sqrt(len(values)), rel=2e-4)


def test_other_confidence() -> None:
    assert estimate_mean([90, 92, 94], confidence=0.90).half_width == pytest.approx(
        2.919986 * 2 / math.sqrt(3), rel=1e-6
    )


def test_one_or_two_values_have_no_interval() -> None:
    assert estimate_mean([0.25]) == (0.25, None, 1)
    mean, half_width, n = estimate_mean([58.17, 71.23])
    assert mean == pytest.approx(64.7)
    assert half_width is None, "it would be ± 83"
    assert n == 2


def test_equal_values_have_an_interval_of_nothing() -> None:
    assert estimate_mean([0.25, 0.25, 0.25]) == (0.25, 0.0, 3)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        estimate_mean(values)
