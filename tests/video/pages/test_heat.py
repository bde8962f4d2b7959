"""The heat map: how long vehicles were where."""

import numpy as np
import pytest

from fieldtrial.video.pages.heat import CELLS, HeatMap, read_path

STILL = np.full((90, 160, 3), 100, np.uint8)


def test_seconds_are_where_a_vehicle_waited_and_drove() -> None:
    heat = HeatMap((1600, 900))
    assert heat.cell == 10
    # waits for 10 s, drives 400 pixels in 4 s, and is gone for no time
    heat.add(np.array([[205.0, 305.0, 0.0], [205, 305, 10], [605, 305, 14], [605, 305, 14]]))
    assert heat.seconds.shape == (90, 160)
    assert heat.seconds.sum() == pytest.approx(14)
    row = heat.seconds[30]
    assert row.sum() == pytest.approx(14)
    assert row[20] == pytest.approx(10 + 0.05, abs=0.06)
    assert row[25:55] == pytest.approx(0.1, abs=0.051)
    assert row[30:50].sum() == pytest.approx(2, abs=0.06)
    assert row[62:].sum() == row[:20].sum() == 0


def test_frame_times_and_points_left_out_change_nothing() -> None:
    often, seldom = HeatMap((1600, 900)), HeatMap((1600, 900))
    steps = np.linspace(0, 1, 101)[:, None]
    often.add(np.array([5.0, 5, 0]) + steps * [1500, 800, 20])
    seldom.add(np.array([[5.0, 5, 0], [1505, 805, 20]]))
    assert often.seconds.sum() == pytest.approx(20)
    for cells in (slice(0, 45), slice(45, 90)):
        together = often.seconds[cells].sum()
        assert seldom.seconds[cells].sum() == pytest.approx(together, abs=0.2)


def test_what_is_outside_and_what_is_no_way_is_left_out() -> None:
    heat = HeatMap((160, 90))
    heat.add(np.array([[-50.0, 10, 0], [-10, 10, 5]]))
    heat.add(np.array([[1e300, 1e300, 0], [1e300, -1e300, 5]]))
    heat.add(np.array([[10.0, 10, 5], [10, 10, 0]]))  # back in time
    heat.add(np.array([[10.0, 10, 5]]))
    assert heat.seconds.sum() == heat.most == 0
    over = heat.over(STILL)
    assert (over == over[0, 0]).all()


def test_the_picture_is_hot_where_vehicles_were_and_grey_elsewhere() -> None:
    heat = HeatMap((1600, 900))
    heat.add(np.array([[400.0, 300, 0], [400, 300, 60]]))
    heat.add(np.array([[1200.0, 600, 0], [1200, 600, 1]]))
    over = heat.over(STILL).astype(int)
    assert over.shape == STILL.shape
    assert over[30, 40].max() - over[30, 40].min() > 60
    assert (over[80, 20] == over[80, 20][0]).all()
    coloured = [np.ptp(over[row, column]) > 20 for row, column in ((60, 120), (30, 90))]
    assert coloured == [True, False]
    colours, ticks = heat.scale()
    assert ticks == sorted(ticks)
    assert ticks[0] == 0
    assert ticks[-1] == heat.most <= 60
    assert colours[0] == "#000004"


def test_a_map_of_an_odd_shape_lies_where_the_frame_is() -> None:
    heat = HeatMap((100, 333))
    assert max(heat.seconds.shape) == CELLS
    heat.add(np.array([[95.0, 320, 0], [95, 320, 9]]))
    over = heat.over(np.full((333, 100, 3), 100, np.uint8)).astype(int)
    rows, columns = np.nonzero(np.ptp(over, axis=2) > 60)
    assert abs(rows.mean() + 0.5 - 320) < 1  # half a pixel from its edge to its middle
    assert abs(columns.mean() + 0.5 - 95) < 1


def test_a_path_is_read_and_other_text_is_refused() -> None:
    assert read_path("1 2 0.5;3.5 4 1").tolist() == [[1, 2, 0.5], [3.5, 4, 1]]
    for text in ("", ";", "1 2", "1 2 3;4 5", "a b c", "1 2 nan", "1 2 inf"):
        with pytest.raises(ValueError):  # noqa: PT011 (numpy's own words for some)
            read_path(text)
