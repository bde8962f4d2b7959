"""Crops, turns and shifts are as published and as torchvision computes them."""

import math

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from fieldtrial.training.augment.drawing import draw
from fieldtrial.training.augment.transforms import augment
from fieldtrial.training.augment.warp import (
    WINDOW_NUMBERS,
    resized_windows,
    rotations,
    warp,
    windows,
)
from fieldtrial.training.data.crops import AREA, ASPECT
from tests.training.augment.torchvisions import warped


def test_every_shift_of_a_crop_is_drawn_alike() -> None:
    pixel = torch.zeros(1, 1, 16, 16)
    pixel[0, 0, 8, 8] = 1
    changed = augment(pixel.repeat(5000, 1, 1, 1), ("crop",), seed=0)
    found = torch.bincount(changed.flatten(1).argmax(1), minlength=256).view(16, 16)
    assert (found > 0).nonzero().tolist() == [
        [row, column] for row in range(6, 11) for column in range(6, 11)
    ]
    assert found[6:11, 6:11].min() > 140  # of 200 on average: four standard deviations


def test_random_resized_crops_are_windows_of_the_published_sizes(colour: Tensor) -> None:
    (numbers,) = draw([WINDOW_NUMBERS], 20_000, seed=0)
    starts, sizes = resized_windows(numbers, 32, 32)
    assert (starts >= 0).all()
    assert (starts + sizes <= 1 + 1e-6).all()
    area, ratio = sizes.prod(1), sizes[:, 0] / sizes[:, 1]
    for values, (low, high) in ((area, AREA), (ratio, ASPECT)):
        assert low - 1e-5 <= values.min() < low + 0.01
        assert high - 0.02 < values.max() <= high + 1e-5
    draw_theirs = torchvision.transforms.RandomResizedCrop.get_params
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = [draw_theirs(colour[0], list(AREA), list(ASPECT)) for _ in range(4000)]
    _, _, heights, widths = torch.tensor(theirs, dtype=torch.float32).T / 32
    for ours, other in ((area, heights * widths), (sizes[:, 0], widths), (sizes[:, 1], heights)):
        cuts = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
        torch.testing.assert_close(ours.quantile(cuts), other.quantile(cuts), atol=0.025, rtol=0)
    # Where no window fits, the whole image is taken: all ten are the whole area, at 4 to 3.
    starts, sizes = resized_windows(torch.full((WINDOW_NUMBERS, 1), 1.0), 32, 32)
    assert (starts.tolist(), sizes.tolist()) == ([[0, 0]], [[1, 1]])


def test_a_resized_crop_is_torchvisions_but_for_its_border(colour: Tensor) -> None:
    top, left, height, width = 5, 8, 16, 20
    starts = torch.tensor([[left / 32, top / 32]]).repeat(2, 1)
    sizes = torch.tensor([[width / 32, height / 32]]).repeat(2, 1)
    changed = warp(colour[:2], windows(starts, sizes), outside="border")
    expected = vision.resized_crop(colour[:2], top, left, height, width, [32, 32], antialias=False)
    inner = (..., slice(1, -1), slice(1, -1))  # here, the border sees what is beyond the window
    torch.testing.assert_close(changed[inner], expected[inner], atol=1e-5, rtol=0)
    whole = warp(colour[:2], windows(torch.zeros(2, 2), torch.ones(2, 2)), outside="border")
    torch.testing.assert_close(whole, colour[:2], atol=1e-5, rtol=0)


def test_rotation_turns_each_image_by_up_to_15_degrees_as_torchvision_does(colour: Tensor) -> None:
    (numbers,) = draw([1], 16, seed=6)
    changed = augment(colour, ("rotation",), seed=6)
    angles = 15 * (2 * numbers[0] - 1)
    assert angles.min() < -9
    assert angles.max() > 9
    for image, before, angle in zip(changed, colour, angles.tolist(), strict=True):
        # torchvision turns the other way round
        torch.testing.assert_close(image, warped(before, angle=-angle), atol=1e-3, rtol=0)


def test_a_turn_of_a_wide_image_keeps_right_angles() -> None:
    cross = torch.zeros(1, 1, 21, 41)
    cross[..., 10, :] = 1
    changed = warp(cross, rotations(torch.tensor([math.pi / 2]), 21, 41))
    torch.testing.assert_close(changed[0, 0, :, 20], torch.ones(21), atol=1e-4, rtol=0)
    assert changed.sum() == pytest.approx(21, abs=1e-2)


def test_affine_shifts_and_zooms_as_torchvision_does(colour: Tensor) -> None:
    (numbers,) = draw([3], 16, seed=2)
    changed = augment(colour, ("affine",), seed=2)
    right, down, zoom = 2 * numbers - 1
    bilinear = vision.InterpolationMode.BILINEAR
    for image, before, x, y, more in zip(
        changed, colour, right.tolist(), down.tolist(), zoom.tolist(), strict=True
    ):
        expected = vision.affine(
            before, 0.0, [3.2 * x, 3.2 * y], 1 + 0.1 * more, [0.0, 0.0], interpolation=bilinear
        )
        torch.testing.assert_close(image, expected, atol=1e-3, rtol=0)
