"""How a video is cut: into whole frames, at key frames, in parts of about one length."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldtrial.video.segments.plan import count, cut, lead


def test_segments_begin_at_key_frames_and_are_of_about_one_length() -> None:
    times = np.arange(1000) / 10
    keys = np.arange(0, 1000, 25)
    assert cut(times, keys, 30) == [(0, 300), (300, 600), (600, 1000)], "the end is not cut off"
    assert cut(times, keys, 24) == [(0, 250), (250, 500), (500, 750), (750, 1000)]
    assert cut(times, np.array([0]), 24) == [(0, 1000)]
    assert cut(times, np.arange(1000), 1000) == [(0, 1000)]
    assert cut(np.zeros(1), np.zeros(1, np.int64), 10) == [(0, 1)]


@given(
    st.lists(st.floats(0.001, 5), min_size=1, max_size=80),
    st.sets(st.integers(1, 79)),
    st.floats(1, 60),
    st.integers(1, 7),
)
def test_every_frame_is_in_one_segment(
    intervals: list[float], keys: set[int], seconds: float, stride: int
) -> None:
    times = np.cumsum(intervals) - intervals[0]
    key_frames = np.array(sorted({0} | {key for key in keys if key < len(times)}))
    segments = cut(times, key_frames, seconds)
    assert [segments[0][0], segments[-1][1]] == [0, len(times)]
    assert all(one[1] == other[0] for one, other in pairwise(segments))
    assert {first for first, _ in segments} <= set(key_frames.tolist())
    looked_at = [number for number in range(len(times)) if number % stride == 0]
    assert sum(count(*segment, stride) for segment in segments) == len(looked_at)
    for first, last in segments:
        inside = [number for number in looked_at if first <= number < last]
        assert count(first, last, stride) == len(inside)


def test_the_frames_before_a_segment_are_those_of_the_last_second() -> None:
    times = np.array([0.0, 0.5, 1.25, 1.5, 2.0, 4.0])
    assert [lead(times, first, 1.0) for first in range(6)] == [0, 0, 1, 1, 2, 5]
    assert lead(times, 0, 1.0) == pytest.approx(0)
