"""Counts by minute: longer bins keep the sums, and the busiest times are found."""

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from fieldtrial.video.pages.series import (
    BUSY,
    busiest,
    by_second,
    count_data,
    shortest_bin,
    starts,
    zone_data,
    zone_totals,
)
from fieldtrial.video.pages.tables import Crossed, Occupied, Stream
from fieldtrial.video.summary import Summary

Value = TypeVar("Value")
MINUTES = st.dictionaries(st.integers(0, 200), st.integers(1, 9))


@given(st.dictionaries(st.tuples(*[st.integers(0, 1)] * 4), MINUTES, max_size=5))
def test_the_data_of_figures_sum_up_to_the_counts(counts: dict[Stream, dict[int, int]]) -> None:
    data = count_data(counts)
    assert data["seconds"] == 1
    columns = data["columns"]
    rows = list(zip(*columns.values(), strict=True))
    expected = [
        (*stream, minute, count) for stream, by in counts.items() for minute, count in by.items()
    ]
    assert sorted(rows) == sorted(expected)


def test_bins_are_longer_where_there_is_too_much() -> None:
    day = {60 * minute: 1 for minute in range(1440)}
    mosts = (1440, 1439, 288, 287, 96, 24, 6, 3, 0)
    bins = [shortest_bin([day], most=most) for most in mosts]
    assert bins == [1, 300, 300, 900, 900, 3600, 14_400, 86_400, 86_400]
    assert shortest_bin([day], least=60) == 60
    week = {(video, line, 0, 0): day for video in range(7) for line in range(10)}
    data = count_data(week)
    assert data["seconds"] == 300
    assert sum(data["columns"]["count"]) == 7 * 10 * 1440
    assert set(data["columns"]["count"]) == {5}


def test_crossings_are_counted_by_second() -> None:
    crossings = [Crossed((0, 0, 1, 0), 1, time) for time in (0.0, 0.999, 1.0, 61.5)]
    assert by_second(crossings) == {(0, 0, 1, 0): {0: 2, 1: 1, 61: 1}}


@given(st.lists(MINUTES, min_size=1, max_size=3), st.lists(st.integers(1, 60), min_size=3))
def test_the_busiest_minutes_are_found(counts: list[dict[int, int]], lengths: list[int]) -> None:
    inside = [
        {minute: count for minute, count in by.items() if minute < lengths[video]}
        for video, by in enumerate(counts)
    ]
    sums = [
        sum(by.get(first + minute, 0) for minute in range(BUSY))
        for video, by in enumerate(inside)
        for first in range(lengths[video] - BUSY + 1)
    ]
    seconds = [{60 * at + at % 60: count for at, count in by.items()} for by in inside]
    found = busiest(list(enumerate(seconds)), [60 * length - 0.5 for length in lengths])
    assert (found[2] if found else 0) == max(sums, default=0)
    if found:
        video, first, count = found
        assert 0 <= first <= lengths[video] - BUSY
        assert sum(inside[video].get(first + minute, 0) for minute in range(BUSY)) == count


def test_streams_of_one_video_are_busy_together() -> None:
    assert busiest([(0, {180: 2}), (0, {659: 2}), (1, {0: 3})], [3600, 3600]) == (0, 3, 4)


def test_videos_follow_each_other_by_whole_seconds() -> None:
    video = {"name": "", "width": 1, "height": 1, "frames": 0, "detections": 0, "tracks": 0}
    videos = [{**video, "seconds": seconds, "skipped": []} for seconds in (0.0, 60.0, 60.5)]
    summary: Summary = {"videos": videos}  # type: ignore[typeddict-item]
    assert starts(summary) == [0, 1, 61, 122]


def test_zones_are_averaged_over_bins_and_videos() -> None:
    zones = {
        (0, 0): {0: Occupied(1.0, 3, 5), 1: Occupied(2.0, 2, 1)},
        (1, 0): {0: Occupied(6.0, 9, 0)},
    }
    # Of the first video's second minute there are only 15 seconds.
    lengths = [75.0, 60.0]
    first, second = zone_totals(zones, 2, lengths)
    assert first == ((60 * 1.0 + 15 * 2.0 + 60 * 6.0) / 135, 9, 6)
    assert second == (0.0, 0, 0)
    assert zone_totals({(0, 0): {0: Occupied(2.0, 2, 2)}}, 1, [0.0]) == [(2.0, 2, 2)]
    data = zone_data(zones, lengths)
    assert data["seconds"] == 60
    assert data["columns"]["mean"] == [1.0, 2.0, 6.0]
    assert data["columns"]["video"] == [0, 0, 1]
    hours = {(0, zone): {at: Occupied(at % 5, 9, 1) for at in range(1003)} for zone in range(60)}
    data = zone_data(hours, [60 * 1002.5])
    assert data["seconds"] == 300
    # Two of five minutes and a half: 0, 1 and half of 2.
    assert data["columns"]["mean"][199:201] == [2.0, float(f"{(0 + 1 + 2 / 2) / 2.5:.4g}")]
