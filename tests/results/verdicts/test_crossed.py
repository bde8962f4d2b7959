"""Seeds and images as crossed random factors: against scipy, exact sums, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from fieldtrial.results.verdicts.crossed import (
    CAUTION,
    Contrasts,
    Runs,
    contrasts_of,
    family_of,
)

DIFFERENCE = np.array([[1.0, -1.0]])


def deterministic(scores: "list[float] | np.ndarray", unit: float = 0.0, start: int = 0) -> Runs:
    known = np.asarray(scores, float)
    images = np.arange(start, start + len(known))
    return Runs(np.array([known.mean()]), known[None], images, unit, repeated=2)


def scored(scores: np.ndarray, unit: float = 0.0) -> Runs:
    return Runs(scores.mean(1), scores, np.arange(scores.shape[1]), unit)


def difference(*rows: Runs) -> Contrasts:
    return contrasts_of(family_of(rows), DIFFERENCE)


def test_rows_without_seeds_luck_are_compared_as_by_a_paired_t_test() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, (2, 400))
    found = difference(deterministic(first), deterministic(second))
    expected = stats.ttest_rel(first, second)
    assert found.sums[0] / found.errors[0] == pytest.approx(expected.statistic)
    assert found.freedom[0] == pytest.approx(
        CAUTION * 399, rel=0.15
    )  # by the kurtosis that is there


def test_rows_without_scores_are_compared_as_by_welchs_t_test() -> None:
    first, second = np.array([0.91, 0.94, 0.92]), np.array([0.80, 0.85, 0.81])
    found = difference(Runs(first), Runs(second))
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert found.sums[0] / found.errors[0] == pytest.approx(expected.statistic)
    assert found.freedom[0] == pytest.approx(CAUTION * expected.df)


def test_rows_on_different_images_are_unpaired() -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(0, 1, (2, 300))
    found = difference(deterministic(first), deterministic(second, start=1000))
    assert found.images[0] == pytest.approx(first.var(ddof=1) / 300 + second.var(ddof=1) / 300)


def test_few_images_that_differ_have_few_degrees_of_freedom() -> None:
    """The variance of a share of 4 % of 200 images is known as that of 15 normal numbers."""
    first, second = np.zeros(200), np.zeros(200)
    first[:8] = 1
    found = difference(deterministic(first), deterministic(second))
    share = 8 / 200
    kurtosis = (1 - 3 * share * (1 - share)) / (share * (1 - share))  # of a Bernoulli variable
    assert found.freedom[0] == pytest.approx(CAUTION * 2 * 200 / (kurtosis - 197 / 199), rel=0.02)


def test_rows_that_agree_on_every_image_are_not_certain_to_be_equal() -> None:
    scores = np.ones(98)
    found = difference(deterministic(scores, unit=1.0), deterministic(scores, unit=1.0))
    assert found.sums[0] == 0
    # Half an image for either, among 100: the variance of their mean.
    assert found.images[0] == pytest.approx(1 / 99 / 100)
    assert difference(deterministic(scores), deterministic(scores)).images[0] == 0


def test_the_luck_that_a_seed_has_on_each_image_is_counted_once() -> None:
    """Three runs on four images, small enough to do by hand."""
    scores = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], float)
    family = family_of([scored(scores)])
    means = scores.mean(1)
    left = scores - scores.mean(0) - means[:, None] + scores.mean()
    interaction = (left**2).sum() / (2 * 3)
    assert family.spread[0] == pytest.approx(max(means.var(ddof=1), interaction / 4))
    assert family.seeds[0] == pytest.approx(max(0, means.var(ddof=1) - interaction / 4) / 3)
    assert family.images[0, 0] == pytest.approx(scores.mean(0).var(ddof=1) / 4)


def test_runs_with_equal_means_vary_as_much_as_their_single_images() -> None:
    """By hand: the squares of the interactions sum to 8/3, with 2 · 3 degrees of freedom."""
    scores = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 0]], float)
    family = family_of([scored(scores)])
    assert family.spread[0] == pytest.approx(8 / 3 / 6 / 4)  # and not 0
    assert family.seeds[0] == 0  # and not below


def test_identical_runs_have_no_luck_of_a_seed() -> None:
    row = deterministic([1.0, 0.0, 1.0])
    assert row.suffices
    assert not Runs(np.array([0.5])).suffices
    assert family_of([row]).seeds[0] == 0
    assert math.isinf(family_of([row]).freedom[0])


def test_rows_borrow_what_they_know_of_seeds_from_many_others_only() -> None:
    quiet, loud = np.array([0.500, 0.501, 0.502]), np.array([0.3, 0.5, 0.7])
    alone = family_of([Runs(quiet), Runs(loud)])
    assert alone.spread == pytest.approx([quiet.var(ddof=1), loud.var(ddof=1)])
    assert alone.freedom == pytest.approx([2, 2])
    many = family_of([Runs(quiet), *(Runs(loud) for _ in range(7))])
    level = (quiet.var(ddof=1) + 7 * loud.var(ddof=1)) / 8
    assert many.freedom == pytest.approx([4.0] * 8)  # 2, and 4 · 4 / 8
    assert many.spread[0] == pytest.approx((2 * level + 2 * quiet.var(ddof=1)) / 4)


def test_the_variance_is_that_of_new_seeds_and_new_images() -> None:
    """On the average, what is computed is the variance of differences over many repetitions."""
    random = np.random.default_rng(2)
    found, computed = [], []
    for _ in range(400):
        image = random.normal(0, 1, 60)
        rows = []
        for _row in range(2):
            own = image + random.normal(0, 0.7, 60)
            runs = own + random.normal(0, 1, (4, 60)) + random.normal(0, 0.3, (4, 1))
            rows.append(scored(runs))
        one = difference(*rows)
        found.append(one.sums[0])
        computed.append(one.errors[0] ** 2)
    # 2 (0.7² / 60 + 0.3² / 4 + 1 / 240)
    exact = 2 * (0.49 / 60 + 0.09 / 4 + 1 / 240)
    assert np.mean(computed) == pytest.approx(exact, rel=0.1)
    assert np.var(found) == pytest.approx(exact, rel=0.2)


def test_comparisons_with_one_row_are_correlated_through_it() -> None:
    random = np.random.default_rng(3)
    rows = [Runs(random.normal(0, 0.1, 3)) for _ in range(3)]
    weights = np.array([[1.0, 0, -1], [0, 1, -1]])
    family = family_of(rows)
    found = contrasts_of(family, weights)
    own = family.seeds
    expected = own[2] / math.sqrt((own[0] + own[2]) * (own[1] + own[2]))
    assert found.correlation[0, 1] == pytest.approx(expected)


def test_large_families_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    rows = [scored(random.integers(0, 2, (3, 50)).astype(float), unit=1.0) for _ in range(5)]
    weights = np.eye(5) - np.roll(np.eye(5), 1, axis=1)
    whole = contrasts_of(family_of(rows), weights)
    monkeypatch.setattr("fieldtrial.results.verdicts.crossed.CHUNK", 100)
    parts = contrasts_of(family_of(rows), weights)
    np.testing.assert_allclose(parts.images, whole.images)
    np.testing.assert_allclose(parts.freedom, whole.freedom)
