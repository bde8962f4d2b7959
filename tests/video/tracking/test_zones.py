import numpy as np
import pytest

from fieldtrial.video.geometry import Zone
from fieldtrial.video.tracking.zones import Stay, ZoneWatch, occupancy

HALF = Zone("half", ((0.0, 0.0), (100.0, 0.0), (100.0, 100.0), (0.0, 100.0)))


def test_a_vehicle_on_the_border_stays_once() -> None:
    """It trembles over the border for a while, goes away for longer, and comes back."""
    watch = ZoneWatch(HALF, 7, patience=1.0)
    for number in range(40):
        watch.see(number / 10, (99.0 if number % 2 else 101.0, 50.0))
    watch.see(4.5, (300.0, 50.0))
    watch.see(5.5, (50.0, 50.0))
    watch.see(6.0, (50.0, 50.0))
    assert watch.inside
    watch.finish()
    assert watch.stays == [Stay("half", 7, 0.1, 3.9), Stay("half", 7, 5.5, 6.0)]


def test_occupancy_is_what_a_look_at_every_moment_finds() -> None:
    draws = np.random.default_rng(0)
    firsts = draws.uniform(0, 150, 40).round(1)
    lasts = (firsts + draws.exponential(20, 40)).round(1).clip(max=170.0)
    pairs = zip(firsts.tolist(), lasts.tolist(), strict=True)
    stays = [Stay("half", number, *pair) for number, pair in enumerate(pairs)]
    found = occupancy(stays, 170.0)
    assert [one.minute for one in found] == [0, 1, 2]
    for one in found:
        end = min(60 * one.minute + 60, 170)
        moments = np.arange(600 * one.minute, round(10 * end)) / 10 + 0.05
        inside = [sum(stay.first <= now <= stay.last for stay in stays) for now in moments]
        assert one.mean == pytest.approx(np.mean(inside), abs=1e-9)
        ends = [sum(stay.first <= now <= stay.last for stay in stays) for now in moments - 0.05]
        assert one.most == max(inside + ends)
        assert one.entered == sum(60 * one.minute <= stay.first < end for stay in stays)
    assert [one.most for one in occupancy([], 60.0)] == [0, 0]  # the last frame begins a minute
