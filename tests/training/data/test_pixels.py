"""The statistics of an image come from its histogram."""

import numpy as np
import pytest

from fieldtrial.training.data.pixels import moments
from tests.training.photos import cut


@pytest.mark.parametrize("channels", [1, 3])
def test_moments_are_those_of_the_pixels(channels: int) -> None:
    pixels = cut(0, 50, 70)[..., :channels]
    mean, square = moments(pixels)
    assert mean.tolist() == pixels.mean(axis=(0, 1)).tolist()
    assert square.tolist() == np.square(pixels, dtype=np.uint16).mean(axis=(0, 1)).tolist()
