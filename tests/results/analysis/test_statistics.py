"""Intervals and comparisons against worked examples."""

import math

import pytest
from scipy import stats

from fieldtrial.results.analysis.statistics import (
    Comparison,
    compare,
    correct,
    estimate_mean,
    estimate_seeds,
)


def test_students_sleep_data() -> None:
    # Student (1908), "The probable error of a mean": gained hours of sleep; R's t.test(extra) gives
    # 0.7001142 2.4598858
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    mean, half_width, n = estimate_mean(gained)
    assert mean == pytest.approx(1.58)
    assert n == 10
    assert half_width == pytest.approx((2.4598858 - 0.7001142) / 2, abs=1e-7)


@pytest.mark.parametrize(
    ("values", "quantile"),  # t(0.975) of 1, 2, 4 and 9 degrees of freedom, from the tables
    [([0, 2], 12.706), ([90, 92, 94], 4.303), ([1, 2, 3, 4, 5], 2.776), (list(range(10)), 2.262)],
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


def test_two_seeds_have_no_interval_in_a_table() -> None:
    assert estimate_seeds([0.25, 0.75]) == (0.5, None, 2)
    assert estimate_seeds([0.25, 0.5, 0.75]) == estimate_mean([0.25, 0.5, 0.75])


def test_one_value_has_no_interval() -> None:
    assert estimate_mean([0.25]) == (0.25, None, 1)


def test_equal_values_have_an_interval_of_nothing() -> None:
    assert estimate_mean([0.25, 0.25, 0.25]) == (0.25, 0.0, 3)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        estimate_mean(values)


# Student's sleep data again, both drugs on the same ten patients: R 4's data set `sleep`
FIRST = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
SECOND = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))


def only(values: dict[str, dict[int, float]], resolution: float = 0.0) -> Comparison:
    (comparison,) = compare(values, [("a", "b")], resolution)
    return comparison


def test_values_of_the_same_seeds_are_compared_in_pairs() -> None:
    # R: t.test(extra ~ group, data = sleep, paired = TRUE): t = -4.0621, df = 9, p-value =
    # 0.002833, 95 percent confidence interval -2.4598858 -0.7001142
    found = only({"a": FIRST, "b": SECOND})
    assert (found.paired, found.n) == (True, 10)
    assert found.difference == pytest.approx(-1.58)
    assert found.p == pytest.approx(0.002833, abs=5e-7)
    assert found.half_width == pytest.approx((2.4598858 - 0.7001142) / 2, abs=1e-7)
    assert found.corrected_p == found.p
    assert found.shown


def test_values_of_other_seeds_are_compared_as_two_samples() -> None:
    # R: t.test(extra ~ group, data = sleep): t = -1.8608, df = 17.776, p-value = 0.07939,
    # 95 percent confidence interval -3.3654832 0.2054832
    found = only({"a": FIRST, "b": {seed + 10: value for seed, value in SECOND.items()}})
    assert (found.paired, found.n) == (False, 10)
    assert found.p == pytest.approx(0.07939, abs=5e-6)
    assert found.half_width == pytest.approx((3.3654832 + 0.2054832) / 2, abs=1e-7)
    assert not found.shown


def test_pairs_are_the_seeds_in_common() -> None:
    extra = {100: 50.0, 101: -50.0}
    assert only({"a": FIRST | extra, "b": SECOND}).p == only({"a": FIRST, "b": SECOND}).p
    assert not only(
        {"a": {0: 1.0, 1: 2.0, 2: 2.5}, "b": {1: 1.0, 2: 1.5, 3: 4.0}}
    ).paired  # two in common


def test_holms_correction() -> None:
    # the example in Wikipedia's article on the Holm-Bonferroni method: of four hypotheses with
    # these p-values, 0.005 and 0.01 are rejected at 0.05; 4 × 0.005, 3 × 0.01, 2 × 0.03, and 0.04
    # no less than the one before it
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([]) == []
    assert correct([0.2]) == [0.2]
    assert correct([0.9, 0.8]) == [1.0, 1.0]


def test_comparisons_are_corrected_together() -> None:
    groups = {
        "a": FIRST,
        "b": SECOND,
        "c": {seed: value + 0.01 * seed**2 for seed, value in FIRST.items()},
        "d": FIRST,
    }
    apart = [compare(groups, [("a", other)])[0].p for other in "bcd"]
    together = compare(groups, [("a", other) for other in "bcd"])
    assert [one.p for one in together] == apart
    assert [one.corrected_p for one in together] == pytest.approx(
        correct([p for p in apart if p is not None])
    )
    assert [one.second for one in together] == ["b", "c", "d"]


def test_too_few_values_are_not_tested() -> None:
    two = {0: 0.1, 1: 0.2}
    found = compare({"a": FIRST, "b": two, "c": SECOND}, [("a", "b"), ("a", "c")])
    assert (found[0].p, found[0].corrected_p, found[0].half_width, found[0].shown) == (
        None,
        None,
        None,
        False,
    )
    assert found[0].difference == pytest.approx(0.75 - 0.15)
    assert (
        found[1].corrected_p == found[1].p
    )  # what is not tested does not make the others' p larger


def test_equal_differences_are_no_certainty() -> None:
    # three times one image of 180 more: without the rounding of counts to images, p would be 0
    better = {seed: (170 + seed + 1) / 180 for seed in range(3)}
    worse = {seed: (170 + seed) / 180 for seed in range(3)}
    assert only({"a": better, "b": worse}).p == 0.0
    # the spread of two roundings, step² / 12 each: t = step / sqrt(step² / 6 / 3) = sqrt(18) on 2
    # degrees of freedom
    assert only({"a": better, "b": worse}, resolution=1 / 180).p == pytest.approx(
        2 * stats.t.sf(math.sqrt(18), 2)
    )
    assert only({"a": better, "b": better}, resolution=1 / 180).p == 1.0
    assert only({"a": better, "b": better}).p == 1.0


def test_a_spread_above_the_rounding_is_as_it_is() -> None:
    assert only({"a": FIRST, "b": SECOND}, resolution=0.1).p == only({"a": FIRST, "b": SECOND}).p


@pytest.mark.parametrize("bad", [{}, {0: math.nan}, {0: 1.0, 1: math.inf}])
def test_no_comparison(bad: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="b: a comparison needs values, all of them finite"):
        compare({"a": FIRST, "b": bad}, [("a", "b")])
