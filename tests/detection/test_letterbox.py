"""Letterboxes: OpenCV resizes alike, and boxes find their way back."""

import cv2
import hypothesis
import numpy as np
from hypothesis import strategies

from fieldtrial.detection.letterbox import GREY, least_size, letterbox, place

SIDES = strategies.integers(1, 3000)


def test_images_are_resized_as_opencv_does_with_grey_around() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 150, 3), np.uint8)
    for size in ((64, 64), (320, 192), (75, 96), (321, 64)):
        box, placement = letterbox(image, size)
        assert box.shape == (3, size[1], size[0])
        (left, top), (width, height) = placement.offset, placement.inner
        assert 0 <= size[0] - width - 2 * left <= 1  # in the middle
        assert 0 <= size[1] - height - 2 * top <= 1
        pixels = box.permute(1, 2, 0).numpy()
        inner = pixels[top : top + height, left : left + width]
        theirs = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        assert np.abs(inner.astype(int) - theirs).max() <= 1
        pixels = pixels.copy()
        pixels[top : top + height, left : left + width] = GREY
        assert (pixels == GREY).all()
        assert abs(width / height - 150 / 60) < 0.1


def test_an_image_of_the_inputs_size_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    image.flags.writeable = False  # as a decoder may give it
    box, _ = letterbox(image, (96, 64))
    assert (box.permute(1, 2, 0).numpy() == image).all()


@hypothesis.example(1, 615, 320)  # 615 * (320 / 615) is above 320
@hypothesis.given(SIDES, SIDES, strategies.sampled_from([32, 320, 608]))
def test_boxes_come_back(width: int, height: int, side: int) -> None:
    for size in ((side, side), least_size((width, height), side, 32)):
        assert max(size) == side
        assert all(number % 32 == 0 for number in size)
        placement = place((width, height), size)
        (left, top), (wide, high) = placement.offset, placement.inner
        assert min(left, top) >= 0
        assert left + wide <= size[0]
        assert top + high <= size[1]
        # What is not border is the image, from corner to corner.
        boxes = np.array([[0, 0, wide, high], [wide / 2, 0, wide, high / 4]]) + [left, top] * 2
        expected = np.array([[0, 0, width, height], [width / 2, 0, width, height / 4]])
        np.testing.assert_allclose(
            placement.to_image(boxes), expected, atol=1e-9 * (width + height)
        )


def test_the_least_letterbox_of_a_wide_image_has_little_border() -> None:
    assert least_size((1280, 720), 416, 32) == (416, 256)
    assert least_size((720, 1280), 416, 32) == (256, 416)
    assert least_size((500, 500), 608, 32) == (608, 608)
    assert least_size((4000, 10), 320, 32) == (320, 32)
