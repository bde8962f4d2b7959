"""The picture of a place without vehicles."""

import numpy as np
from numpy.typing import NDArray

from fieldtrial.video.pages.stills import MOST_KEPT, WIDEST, Background

PLACE = np.random.default_rng(0).integers(0, 255, (36, 64, 3), np.uint8)


def passing(number: int, count: int) -> NDArray[np.uint8]:
    """Return the place with a white vehicle that has come so far."""
    frame = PLACE.copy()
    left = 56 * number // count
    frame[10:20, left : left + 8] = 255
    return frame


def test_vehicles_that_pass_are_not_in_it() -> None:
    for count in (5, 15, 16, 17, 500):
        background = Background()
        for number in range(count):
            background.add(passing(number, count))
        picture = background.picture()
        assert picture is not None
        assert (picture == PLACE).all()
        assert len(background._kept) < MOST_KEPT


def test_what_is_kept_is_spread_over_all_frames() -> None:
    background = Background()
    for number in range(1000):
        background.add(np.full((1, 1, 3), number // 4, np.uint8))
    shades = [int(frame[0, 0, 0]) for frame in background._kept]
    steps = np.diff(shades)
    assert len(shades) >= MOST_KEPT / 2
    assert set(steps.tolist()) == {int(steps[0])}
    assert 255 - shades[-1] <= 2 * steps[0]


def test_wide_frames_are_kept_smaller_and_without_frames_there_is_none() -> None:
    background = Background()
    assert background.picture() is None
    background.add(np.zeros((540, 2 * WIDEST, 3), np.uint8))
    picture = background.picture()
    assert picture is not None
    assert picture.shape == (270, WIDEST, 3)
