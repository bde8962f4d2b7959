"""Mixing: what the papers say of the pixels and of the shares of the classes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldtrial.training.augment.mixing import mixed

LABELS = torch.tensor([2, 0, 1, 1])
# Image i is of the grey level 50 (i + 1), so that a pixel tells which image it is of.
IMAGES = (torch.arange(1, 5, dtype=torch.uint8) * 50).view(4, 1, 1, 1).expand(4, 12, 10, 1)
LEVELS = torch.arange(1, 5) * 50 / 255
BEFORE = torch.tensor([3, 0, 1, 2])


def own_share(shares: Tensor) -> float:
    """Return λ: what the shares, of labels 2 and 1 in the first image, give the image's own."""
    assert shares[0, 0] == 0
    return shares[0, 2].item()


def test_mixup_takes_the_same_shares_of_pixels_and_labels() -> None:
    seen = []
    for seed in range(200):
        images, shares = mixed(IMAGES, LABELS, 3, 0.4, 0.0, seed)
        share = own_share(shares)
        pixels = share * LEVELS + (1 - share) * LEVELS[BEFORE]
        assert images.shape == (4, 1, 12, 10)
        torch.testing.assert_close(images, pixels.view(4, 1, 1, 1).expand(4, 1, 12, 10))
        one_hot = torch.eye(3)[LABELS]
        torch.testing.assert_close(shares, share * one_hot + (1 - share) * one_hot[BEFORE])
        seen.append(share)
    # Beta(0.4, 0.4): mean 1/2, variance 1 / (4 × 1.8)
    assert np.mean(seen) == pytest.approx(0.5, abs=4 * (0.1389 / 200) ** 0.5)
    assert np.var(seen) == pytest.approx(1 / 7.2, rel=0.2)


def test_the_shares_of_cutmix_are_those_of_the_pixels() -> None:
    areas = set()
    for seed in range(50):
        images, shares = mixed(IMAGES, LABELS, 3, 0.0, 1.0, seed)
        for number in range(4):
            is_own = images[number, 0] == LEVELS[number]
            assert (is_own | (images[number, 0] == LEVELS[BEFORE[number]])).all()
            rows, columns = torch.nonzero(~is_own, as_tuple=True)
            if len(rows):  # a whole box
                height, width = (int(one.max() - one.min()) + 1 for one in (rows, columns))
                assert height * width == len(rows)
            assert is_own.float().mean().item() == pytest.approx(own_share(shares), abs=1e-6)
        areas.add(len(rows))
    assert len(areas) > 20
    assert max(areas) > 60


def test_of_both_each_batch_gets_one_with_equal_probability() -> None:
    cut = 0
    for seed in range(200):
        images, _ = mixed(IMAGES, LABELS, 3, 1.0, 1.0, seed)
        cut += bool(torch.isin(images[0], LEVELS[[0, 3]]).all())
    assert cut == pytest.approx(100, abs=30)  # four standard deviations


def test_mixing_is_repeatable_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    one, other, third = (mixed(IMAGES, LABELS, 3, 0.4, 1.0, seed) for seed in (7, 7, 2**64 - 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0], third[0])
    floats = IMAGES.permute(0, 3, 1, 2) / 255
    assert torch.equal(mixed(floats, LABELS, 3, 0.4, 1.0, 7)[0], one[0])
