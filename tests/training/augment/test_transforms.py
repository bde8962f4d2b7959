"""Augmentation: seeded, per image, and no trace left in the global generators."""

import math
import random
import subprocess
import sys
import typing
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from fieldtrial.fields.choices import Augmentation
from fieldtrial.training.augment import randaugment
from fieldtrial.training.augment.color import blend, jitter, smooth
from fieldtrial.training.augment.color import grey as luma
from fieldtrial.training.augment.drawing import draw
from fieldtrial.training.augment.moves import MOVES, moved
from fieldtrial.training.augment.randaugment import CHANGES as RANDOM_CHANGES
from fieldtrial.training.augment.transforms import CHANGES, augment
from fieldtrial.training.data.load import load
from tests.training.augment.torchvisions import shifted, warped
from tests.training.photos import cut

NAMES = tuple(CHANGES)
CHANGED_OR_NOT = (("horizontal_flip",), ("vertical_flip",), ("grayscale",))


@pytest.fixture(scope="module")
def grey() -> Tensor:
    from fieldtrial.config import TrainConfig

    data = load(TrainConfig(dataset="digits"), None)
    return (
        torch.from_numpy(data.images[data.train[:1]]).permute(0, 3, 1, 2).repeat(16, 1, 1, 1) / 255
    )


def test_every_choice_of_the_config_exists() -> None:
    assert typing.get_args(Augmentation) == NAMES


@pytest.mark.parametrize("names", [*((name,) for name in NAMES), NAMES])
@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_images_change_each_in_its_own_way_by_the_seed_alone(
    names: tuple[str, ...], kind: str, request: pytest.FixtureRequest
) -> None:
    images: Tensor = request.getfixturevalue(kind)
    before = images.clone()
    changed = augment(images, names, seed=3)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert torch.equal(images, before)  # the argument stays as it is
    assert 0 <= changed.min() <= changed.max() <= 1
    different = len({image.numpy().tobytes() for image in changed})
    torch.rand(7)
    assert torch.equal(augment(images, names, seed=3), changed)
    if names == ("grayscale",) and kind == "grey":
        assert torch.equal(changed, images)
        return
    assert different >= (2 if names in CHANGED_OR_NOT else 8)
    assert not torch.equal(augment(images, names, seed=4), changed)


def test_global_generators_stay_as_they_were(colour: Tensor) -> None:
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    augment(colour, NAMES, seed=2**63)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert repr(np.random.get_state()) == states[2]


def test_flips_mirror(colour: Tensor) -> None:
    for name, dimension in (("horizontal_flip", 3), ("vertical_flip", 2)):
        changed = augment(colour, (name,), seed=0)
        flipped = [
            torch.equal(after, before.flip(dimension - 1))
            for after, before in zip(changed, colour, strict=True)
        ]
        kept = [torch.equal(after, before) for after, before in zip(changed, colour, strict=True)]
        assert all(a != b for a, b in zip(flipped, kept, strict=True))
        assert 2 <= sum(flipped) <= 14


def test_crop_shifts_by_an_eighth_at_most(colour: Tensor) -> None:
    padded = torch.nn.functional.pad(colour[:1], (4, 4, 4, 4), mode="reflect")[0]
    windows = {
        padded[:, y : y + 32, x : x + 32].numpy().tobytes() for y in range(9) for x in range(9)
    }
    assert all(image.numpy().tobytes() in windows for image in augment(colour, ("crop",), seed=0))


def test_color_jitter_does_what_torchvision_does_but_for_the_hue(colour: Tensor) -> None:
    """Without hue, and where nothing is cut off, the two agree to rounding."""
    images = 0.3 + 0.3 * colour[:4]
    factors = torch.tensor([[1.1, 0.9, 1.2, 0.8], [0.8, 1.2, 1.1, 0.9], [1.3, 0.7, 1.1, 0.6]])
    changed = jitter(images, factors[0], factors[1], factors[2], torch.zeros(4))
    for number, (image, (brightness, contrast, saturation)) in enumerate(
        zip(images, factors.T.tolist(), strict=True)
    ):
        expected = vision.adjust_brightness(image, brightness)
        expected = vision.adjust_saturation(vision.adjust_contrast(expected, contrast), saturation)
        assert torch.allclose(changed[number], expected, atol=2e-4)


def test_hue_turns_and_keeps_the_luma(colour: Tensor) -> None:
    images, ones = 0.4 + 0.2 * colour, torch.ones(16)
    turned = jitter(images, ones, ones, ones, torch.full((16,), 0.25))
    assert torch.allclose(luma(turned), luma(images), atol=1e-5)
    assert (turned - images).abs().max() > 0.02
    assert torch.allclose(jitter(images, ones, ones, ones, ones), images, atol=1e-5)  # a whole turn


def test_sharpness_is_torchvisions(colour: Tensor) -> None:
    sharper = blend(colour, smooth(colour), torch.full((16,), 1.7))
    assert torch.allclose(sharper, vision.adjust_sharpness(colour, 1.7), atol=1e-5)


def test_grayscale_takes_the_colour_from_some(colour: Tensor) -> None:
    images = colour[:1].repeat(400, 1, 1, 1)
    changed = augment(images, ("grayscale",), seed=0)
    plain = torch.tensor([torch.equal(image, images[0]) for image in changed])
    assert 20 <= (~plain).sum() <= 60
    assert torch.allclose(changed[~plain], luma(images)[~plain].expand(-1, 3, -1, -1), atol=1e-6)


@pytest.mark.parametrize("number", range(len(RANDOM_CHANGES)))
def test_each_of_randaugments_changes_is_torchvisions(number: int, colour: Tensor) -> None:
    expected: Callable[[Tensor, float], Tensor] = (
        lambda image, _: image,
        lambda image, _: vision.autocontrast(image),
        lambda image, _: vision.equalize(image),
        lambda image, _: vision.solarize(image, 0.7),
        lambda image, _: vision.posterize(image, 7),
        lambda image, sign: vision.adjust_brightness(image, 1 + 0.27 * sign),
        lambda image, sign: vision.adjust_contrast(image, 1 + 0.27 * sign),
        lambda image, sign: vision.adjust_saturation(image, 1 + 0.27 * sign),
        lambda image, sign: vision.adjust_sharpness(image, 1 + 0.27 * sign),
        lambda image, sign: warped(image, angle=-9.0 * sign),
        lambda image, sign: warped(image, shear=[math.degrees(math.atan(0.09 * sign)), 0.0]),
        lambda image, sign: warped(image, shear=[0.0, math.degrees(math.atan(0.09 * sign))]),
        lambda image, sign: shifted(image, -150 / 331 * 0.3 * 32 * sign),
        lambda image, sign: shifted(image.mT, -150 / 331 * 0.3 * 32 * sign).mT,
    )[number]
    signs = torch.tensor([1.0, -1.0])
    changed = RANDOM_CHANGES[number](colour[:2], signs)
    for image, before, sign in zip(changed, colour[:2], signs.tolist(), strict=True):
        assert torch.allclose(image, expected(before, sign), atol=2e-3), (
            (image - expected(before, sign)).abs().max()
        )


def test_randaugment_draws_all_changes_alike(
    colour: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [0] * len(RANDOM_CHANGES)

    def count(number: int) -> Callable[[Tensor, Tensor], Tensor]:
        def change(images: Tensor, _signs: Tensor) -> Tensor:
            counts[number] += len(images)
            return images

        return change

    monkeypatch.setattr(
        randaugment, "CHANGES", tuple(count(number) for number in range(len(counts)))
    )
    augment(colour[:1].repeat(1400, 1, 1, 1), ("randaugment",), seed=0)
    assert sum(counts) == 2 * 1400
    assert min(counts) > 150


def test_order_counts(colour: Tensor) -> None:
    forwards = augment(colour, ("rotation", "crop"), seed=1)
    assert not torch.equal(forwards, augment(colour, ("crop", "rotation"), seed=1))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images_survive(size: int) -> None:
    assert augment(torch.rand(4, 1, size, size), NAMES, seed=0).shape == (4, 1, size, size)


def test_no_names_mean_no_change_and_no_torchvision(colour: Tensor) -> None:
    assert augment(colour, (), seed=0) is colour
    code = (
        "import sys, torch; from fieldtrial.training.augment.transforms import augment;"
        " augment(torch.rand(2, 1, 8, 8), ('rotation',), 0);sys.exit('torchvision' in"
        " sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_what_the_cpu_draws(colour: Tensor) -> None:
    for name in NAMES:
        on_gpu = augment(colour.cuda(), (name,), seed=9)
        assert on_gpu.is_cuda
        assert torch.allclose(on_gpu.cpu(), augment(colour, (name,), seed=9), atol=1e-3)


@pytest.mark.parametrize(
    "names",
    [
        ("horizontal_flip",),
        ("crop", "horizontal_flip", "vertical_flip"),
        ("vertical_flip", "crop"),
        ("crop", "color_jitter", "horizontal_flip"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_stored_images_become_what_floats_become(names: tuple[str, ...], channels: int) -> None:
    """Bit for bit, and they stay 8-bit images where pixels are only moved."""
    photo = torch.from_numpy(cut(1, 30, 44)[..., :channels])
    stored = photo.expand(16, -1, -1, -1).contiguous()
    before = stored.clone()
    floats = augment(stored.permute(0, 3, 1, 2) / 255, names, seed=5)
    changed = augment(stored, names, seed=5)
    assert torch.equal(stored, before)
    if "color_jitter" in names:
        assert torch.equal(changed, floats)
        return
    assert changed.dtype == torch.uint8
    assert torch.equal(changed.permute(0, 3, 1, 2) / 255, floats)


def test_moves_made_together_are_those_made_one_after_another(colour: Tensor) -> None:
    moves = list(zip(MOVES.values(), draw([1, 1, 2], 16, seed=8), strict=True))
    stored = (colour * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    expected = stored
    for move in moves:
        expected = moved(expected, [move])
    assert torch.equal(moved(stored, moves), expected)
    assert not torch.equal(expected, stored)
