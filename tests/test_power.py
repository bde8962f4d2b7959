"""Which difference a design can show: against textbook formulas and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from fieldtrial.power import Design, assumed


def test_one_comparison_is_the_textbooks_two_sample_test() -> None:
    """Sixteen a group show one standard deviation: the rule of thumb for 80 % power."""
    design = Design(images=0.0, seeds=2 / 16, comparisons=1)
    assert design.detectable() == pytest.approx(1.0, abs=0.02)


def test_what_is_detectable_is_shown_in_80_percent_of_cases() -> None:
    design = Design(images=1.0, seeds=0.5, comparisons=5, freedom=12)
    random = np.random.default_rng(0)
    critical = stats.t.ppf(1 - (1 - 0.95 ** (1 / 5)) / 2, 12)
    drawn = design.detectable() + math.sqrt(1.5) * random.standard_normal(20_000)
    error = np.sqrt(1.5 * random.chisquare(12, 20_000) / 12)
    assert np.mean(np.abs(drawn / error) > critical) == pytest.approx(0.8, abs=0.03)


def test_what_a_smaller_difference_takes() -> None:
    design = Design(images=1.0, seeds=0.0, comparisons=3)
    half = design.detectable() / 2
    assert design.images_for(half) == pytest.approx(4, rel=0.01)
    assert design.seeds_for(half) is None  # seeds change nothing
    both = Design(images=0.1, seeds=1.0, comparisons=3)
    times = both.seeds_for(both.detectable() / 2)
    assert times is not None
    assert both.detectable(more_seeds=times) == pytest.approx(both.detectable() / 2, rel=0.01)
    assert both.images_for(both.detectable() / 2) is None


def test_more_rows_more_images_and_more_seeds_each_change_what_is_assumed() -> None:
    found = assumed(1000, 3, 7).detectable()
    assert assumed(1000, 3, 23).detectable() > found
    assert assumed(4000, 3, 7).detectable() < found
    assert assumed(1000, 9, 7).detectable() < found
    # Rows differ on 2 · 0.9 · 0.1 · 0.5 = 9 % of the images.
    assert assumed(100, 10**9, 1).detectable() == pytest.approx((1.96 + 0.8416) * 0.03, rel=1e-3)
