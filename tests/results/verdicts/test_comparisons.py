"""Comparisons of rows: what they generalise to, and which rows may be the best."""

import numpy as np
import pytest
from scipy import stats

from fieldtrial.results.verdicts.comparisons import Comparison, compare, may_be_best
from fieldtrial.results.verdicts.crossed import CAUTION, Runs
from fieldtrial.results.verdicts.joint import TESTED

DIFFERENCE = np.array([[1.0, -1.0]])


def row_of(right: float, images: int = 400, seed: int = 0, start: int = 0) -> Runs:
    scores = np.asarray(np.random.default_rng(seed).random((3, images)) < right, float)
    return Runs(scores.mean(1), scores, np.arange(start, start + images), 1.0)


def test_a_comparison_of_seeds_alone_is_welchs_with_caution() -> None:
    first, second = np.array([0.91, 0.94, 0.92]), np.array([0.85, 0.84, 0.89])
    (found,) = compare([Runs(first), Runs(second)], DIFFERENCE)
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert found.basis == "seeds"
    assert found.p == pytest.approx(2 * stats.t.sf(welch.statistic, CAUTION * welch.df))
    assert found.corrected_p == pytest.approx(found.p / TESTED)
    assert (found.low > 0) == found.shown


def test_rows_with_equal_answers_differ_by_no_more_than_may_have_been_missed() -> None:
    """None of 360 images tells them apart: 1 % of such, 1 - 0.025^(1/360), may be missed."""
    scores = np.tile(np.arange(360) < 340, (3, 1)).astype(float)
    row = Runs(scores.mean(1)[:1], scores[:1], np.arange(360), 1.0, repeated=2)
    (found,) = compare([row, row], DIFFERENCE)
    assert (found.difference, found.p) == (0, 1)
    assert 0.005 < found.high < 0.015
    assert found.low == -found.high


def test_what_it_generalises_to_is_said() -> None:
    rows = [row_of(0.9), row_of(0.8, seed=1), row_of(0.8, seed=2, start=1000), Runs(np.arange(3.0))]
    weights = np.array([[1.0, -1, 0, 0], [1, 0, -1, 0], [1, 0, 0, -1]])
    bases = [one.basis for one in compare(rows, weights)]
    assert bases == ["seeds and images", "seeds and unpaired images", "seeds"]


def test_the_chance_of_single_runs_is_that_of_many_repetitions() -> None:
    """A run of the first row beats one of the second as often as it does when both are drawn."""
    random = np.random.default_rng(5)

    def row(mean: float, runs: int) -> np.ndarray:
        return mean + random.normal(0, 0.5, 200) + random.normal(0, 1, (runs, 200))

    single = [row(0.15, 1).mean() > row(0.0, 1).mean() for _ in range(2000)]
    images = np.arange(200)
    found = []
    for _ in range(100):
        scores = [row(0.15, 5), row(0.0, 5)]
        rows = [Runs(one.mean(1), one, images) for one in scores]
        found += compare(rows, DIFFERENCE)
    assert np.median([one.chance for one in found]) == pytest.approx(np.mean(single), abs=0.05)
    assert all(one.chance_low <= one.chance <= one.chance_high for one in found)


def difference(low: float, high: float) -> Comparison:
    middle = (low + high) / 2
    return Comparison(middle, low, high, 0.5, 0.5, 0.5, 0.4, 0.6, "seeds", 0.1, 0.1, 9)


@pytest.mark.parametrize(
    ("ends", "sign", "unbeaten"),
    [
        ({1: (-0.2, -0.1), 2: (-0.1, 0.1)}, 1, {0, 2}),  # 1 is beaten by the row compared with
        ({1: (0.1, 0.3), 2: (-0.1, 0.05)}, 1, {1}),  # 1 beats it, and so 2, whose end is lower
        ({1: (0.1, 0.3), 2: (-0.1, 0.2)}, 1, {1, 2}),
        ({1: (-0.2, -0.1), 2: (-0.1, 0.1)}, -1, {1, 2}),  # less is better: 1 beats row 0
        ({1: (-0.2, -0.1), 2: (0.05, 0.1)}, -1, {1}),
    ],
)
def test_a_row_that_another_is_shown_to_beat_is_not_among_the_best(
    ends: dict[int, tuple[float, float]], sign: int, unbeaten: set[int]
) -> None:
    differences = {row: difference(*own) for row, own in ends.items()}
    assert may_be_best(0, differences, sign) == unbeaten  # row 3 was not compared
