import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.rates import confint_poisson

from fieldtrial.video.labelled.counts import paired, ratio_interval
from fieldtrial.video.labelled.shares import clustered_variance, share_of_boxes, share_of_trials


def test_the_variance_with_clusters_of_two_kinds_is_that_of_statsmodels() -> None:
    draws = np.random.default_rng(0)
    frames = draws.integers(0, 12, 150)
    vehicles = draws.integers(0, 30, 150)
    hits = (draws.random(150) < 0.5 + 0.03 * frames - 0.01 * vehicles).astype(float)
    fit = sm.OLS(hits, np.ones(150))
    for groups in (frames, vehicles):
        known = fit.fit(
            cov_type="cluster",
            cov_kwds={"groups": groups, "use_correction": True, "df_correction": False},
        )
        # statsmodels corrects by (n - 1) / (n - 1), too: nothing with one mean.
        own = clustered_variance(hits - hits.mean(), groups)
        assert own == pytest.approx(float(known.cov_params()[0, 0]), rel=1e-9)


def test_intervals_of_boxes_hold_where_boxes_are_alike() -> None:
    """Frames differ, and vehicles keep what they are over three frames: 95 % is what is asked for.

    As if boxes were independent, the interval would hold far less often.
    """
    draws = np.random.default_rng(1)
    held = naive = 0
    repeats = 400
    for _ in range(repeats):
        frames = np.repeat(np.arange(24), 6)
        vehicles = np.repeat(np.arange(8), 18) * 6 + np.tile(np.arange(6), 24)
        effect = draws.normal(0, 1.0, 24)[frames] + draws.normal(0, 1.5, 48)[vehicles]
        hits = effect + draws.logistic(0, 1, 144) > 0
        found = share_of_boxes(hits, frames, vehicles)
        assert found["low"] is not None
        assert found["high"] is not None
        held += found["low"] <= 0.5 <= found["high"]
        low, high = proportion_confint(int(hits.sum()), 144, method="wilson")
        naive += low <= 0.5 <= high
    assert held / repeats > 0.93
    assert naive / repeats < 0.85


def test_what_was_always_right_is_not_certain() -> None:
    """Ten frames with ten boxes each: as certain as ten boxes, not as a hundred."""
    frames = np.repeat(np.arange(10), 10)
    found = share_of_boxes(np.ones(100, bool), frames, np.arange(100))
    assert (found["hits"], found["of"], found["share"], found["high"]) == (100, 100, 1.0, 1.0)
    assert found["low"] == pytest.approx(10 / (10 + 2.262157**2), rel=1e-5)  # Student's t, 9
    one_vehicle = share_of_boxes(np.ones(10, bool), np.arange(10), np.zeros(10, int))
    assert (one_vehicle["share"], one_vehicle["low"], one_vehicle["high"]) == (1.0, None, None)
    nothing = share_of_boxes(np.zeros(0, bool), np.zeros(0, int), np.zeros(0, int))
    assert (nothing["of"], nothing["share"]) == (0, None)


def test_intervals_of_trials_and_counts_are_those_of_statsmodels() -> None:
    for hits, of in ((0, 7), (3, 7), (7, 7), (30, 31)):
        found = share_of_trials(hits, of)
        known = proportion_confint(hits, of, method="beta")
        assert (found["low"], found["high"]) == pytest.approx(known, abs=1e-9)
    for counted, by_hand in ((0, 4), (1, 4), (30, 31)):
        known = confint_poisson(counted, by_hand, method="exact-c")
        assert ratio_interval(counted, by_hand) == pytest.approx(np.nan_to_num(known), rel=1e-6)
    assert ratio_interval(3, 0) == (None, None)
    assert share_of_trials(0, 0)["share"] is None


def test_times_are_paired_as_often_as_possible() -> None:
    from scipy.optimize import linear_sum_assignment

    draws = np.random.default_rng(2)
    for _ in range(50):
        times, by_hand = np.sort(draws.uniform(0, 8, 7)), np.sort(draws.uniform(0, 8, 6))
        near = np.abs(times[:, None] - by_hand) <= 1.0
        best = near[linear_sum_assignment(near, maximize=True)].sum()
        assert paired(times.tolist(), by_hand.tolist()) == best
