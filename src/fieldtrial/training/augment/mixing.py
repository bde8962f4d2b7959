"""Mixing: training images in pairs, with the shares of the classes in each of them."""

import functools
from typing import Any, Literal

import torch
from torch import Tensor

from fieldtrial.training.augment.transforms import as_floats


@torch.no_grad()
def mixed(
    images: Tensor, labels: Tensor, classes: int, mixup: float, cutmix: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the images, each mixed with the one before it, and the shares of the classes in each.

    With mixup (H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018) an image is
    λ × itself + (1 − λ) × the other. With CutMix (S. Yun et al., "CutMix: Regularization Strategy
    to Train Strong Classifiers with Localizable Features", 2019) a box of the other is put into
    it, which has 1 − λ of the area before it is cut at the border and rounded to pixels; the
    shares are those of the pixels. λ, the box and, where both are given, which of them it is, each
    with probability 1/2, are drawn once for all images. torchvision computes both.

    Equal arguments give equal results, on the CPU and on a GPU, and the state of the global
    generators stays.

    Args:
        images: uint8 (n, height, width, channels), or float (n, channels, height, width) in [0, 1].
        labels: int64 (n,).
        classes: how many there are.
        mixup: λ is drawn from the Beta distribution with both parameters equal to this; 0: never.
        cutmix: the same for CutMix.
        seed: from 0 to 2**64 - 1.

    Returns:
        Floats (n, channels, height, width) in [0, 1], and shares (n, classes) that sum to 1.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the GPUs too
        torch.default_generator.manual_seed(seed)
        cuts = not mixup or (bool(cutmix) and torch.rand(()).item() < 0.5)
        transform = _transform("CutMix" if cuts else "MixUp", cutmix if cuts else mixup, classes)
        images, shares = transform(as_floats(images), labels)
    return images, shares


@functools.lru_cache(maxsize=16)
def _transform(name: Literal["MixUp", "CutMix"], alpha: float, classes: int) -> Any:
    from torchvision.transforms import v2  # late, because it takes long

    return getattr(v2, name)(alpha=alpha, num_classes=classes)
