"""A row's interval: against Wilson's, Student's, and over many repetitions."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.estimates import estimate


def test_a_row_without_a_seeds_luck_has_wilsons_interval() -> None:
    right = np.arange(2000) < 1880
    row = Runs(np.array([0.94]), right[None].astype(float), np.arange(2000), 1.0, repeated=2)
    found = estimate(row, "test_accuracy")
    expected = proportion_confint(1880, 2000, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=2e-5)
    assert (found.seeds, found.runs, found.repeated) == (0, 1, 2)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_interval_stays_within_0_and_1(share: float) -> None:
    row = Runs(np.full(1, share), np.full((1, 50), share), np.arange(50), 1.0, repeated=2)
    found = estimate(row, "test_accuracy")
    assert found.low is not None
    assert found.high is not None
    bound = stats.t.ppf(0.975, 50) ** 2
    ends = (0, bound / (50 + bound)) if share == 0 else (50 / (50 + bound), 1)
    assert (found.low, found.high) == pytest.approx(ends)


def test_three_perfect_runs_are_as_uncertain_as_their_images() -> None:
    row = Runs(np.ones(3), np.ones((3, 100)), np.arange(100), 1.0, step=0.01)
    found = estimate(row, "test_accuracy")
    assert found.low is not None
    assert 0.9 < found.low < 0.97
    assert found.high == 1
    assert found.images is not None
    assert found.images > 0.03


def test_without_scores_a_row_has_the_interval_of_its_seeds() -> None:
    values = np.array([1.0, 2.0, 4.0])
    found = estimate(Runs(values), "minutes")
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert found.seeds == pytest.approx(half)
    assert found.images is None


def test_a_loss_has_its_interval_on_the_scale_of_logarithms() -> None:
    found = estimate(Runs(np.array([0.1, 0.3, 0.5])), "test_loss")
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.3
    assert found.low * found.high == pytest.approx(0.3**2)


def test_two_runs_have_no_interval() -> None:
    found = estimate(Runs(np.array([0.5, 0.6])), "test_accuracy")
    assert (found.low, found.high, found.seeds) == (None, None, None)


@pytest.mark.parametrize("luck", [0.0, 0.4])
def test_the_interval_covers_what_holds_for_new_seeds_and_images(luck: float) -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        image = random.normal(0, 1, 120)
        latent = 1.0 + image + random.normal(0, 0.5, (3, 120)) + random.normal(0, luck, (3, 1))
        scores = (latent > 0).astype(float)
        true = stats.norm.cdf(1.0 / math.sqrt(1.25 + luck**2))
        found = estimate(Runs(scores.mean(1), scores, np.arange(120), 1.0), "test_accuracy")
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= true <= found.high
    assert 0.92 <= covered / 400 <= 0.99
