"""Contrasts judged together: against Dunnett's table, Bonferroni, and simulation."""

import numpy as np
import pytest
from scipy import stats

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import Contrasts
from fieldtrial.results.verdicts.joint import TESTED, _largest, judge


def contrasts(sums: list[float], correlation: float, freedom: float = np.inf) -> Contrasts:
    count = len(sums)
    matrix = np.full((count, count), correlation) + (1 - correlation) * np.eye(count)
    ones = np.ones(count)
    return Contrasts(np.array(sums), ones / 2, ones / 2, freedom * ones, ones, matrix)


# C. W. Dunnett, "New tables for multiple comparisons with a control", Biometrics 20, 1964:
# two-sided, 5 %, infinite degrees of freedom, correlation 0.5.
@pytest.mark.parametrize(("count", "critical"), [(2, 2.21), (3, 2.35), (5, 2.51), (9, 2.69)])
def test_the_largest_of_correlated_normal_variables_is_dunnetts(
    count: int, critical: float
) -> None:
    found = np.quantile(_largest(contrasts([0.0] * count, 0.5).correlation, 200_000), 0.95)
    assert found == pytest.approx(critical, abs=0.02)


def test_a_single_contrast_has_the_p_of_its_t_test() -> None:
    found = judge(contrasts([2.5], 1.0, freedom=7.0))
    p = 2 * stats.t.sf(2.5, 7)
    assert found.p[0] == pytest.approx(p)
    assert found.corrected_p[0] == pytest.approx(p / TESTED)
    assert found.half_widths[0] == pytest.approx(stats.t.ppf(1 - TESTED * LEVEL / 2, 7))


def test_equal_contrasts_are_corrected_for_one_and_unrelated_ones_for_all() -> None:
    sums = [2.3, 0.0, 0.0, 0.0]
    p = 2 * stats.norm.sf(2.3)
    together = judge(contrasts(sums, 1.0)).corrected_p[0]
    apart = judge(contrasts(sums, 0.0)).corrected_p[0]
    assert together == pytest.approx(p / TESTED, rel=0.05)
    assert apart == pytest.approx((1 - (1 - p) ** 4) / TESTED, rel=0.05)


@pytest.mark.parametrize("correlation", [0.4, 1.0])
@pytest.mark.parametrize("freedom", [np.inf, 3.0])
def test_a_difference_is_shown_exactly_where_its_interval_is_without_0(
    freedom: float, correlation: float
) -> None:
    for size in np.linspace(1.5, 12, 300):
        made = contrasts([size, 0.1, -0.3, 0.2, 0.0], correlation, freedom)
        found = judge(made, draws=2000)
        assert (found.corrected_p[0] < LEVEL) == (found.half_widths[0] < size)


def test_no_difference_and_no_variance_is_p_1() -> None:
    zero = np.zeros(1)
    found = judge(Contrasts(zero, zero, zero, zero + 1, zero, np.ones((1, 1))))
    assert (found.p[0], found.corrected_p[0], found.half_widths[0]) == (1, 1, 0)


def test_families_share_the_level() -> None:
    alone, third = (judge(contrasts([2.4], 1.0), families=families) for families in (1, 3))
    assert third.corrected_p[0] == pytest.approx(3 * alone.corrected_p[0])
    assert third.half_widths[0] == pytest.approx(stats.norm.ppf(1 - TESTED * LEVEL / 6))


def test_far_tails_are_bonferronis() -> None:
    found = judge(contrasts([7.0, 0.0, 0.0], 0.5))
    assert found.corrected_p[0] == pytest.approx(3 * 2 * stats.norm.sf(7) / TESTED)
