"""Augmentation: seeded, per image, and no trace left in the global generators."""

import random
import subprocess
import sys
import typing

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from fieldtrial.config import Augmentation
from fieldtrial.training import augment as augment_module
from fieldtrial.training.augment import CHANGES, augment
from fieldtrial.training.data import load

NAMES = tuple(CHANGES)


@pytest.fixture(scope="module")
def colour() -> Tensor:
    """Sixteen times the same cut of a photo: what differs afterwards was drawn per image."""
    photo = torch.from_numpy(load_sample_image("china.jpg")[100:132, 200:232].copy())
    return photo.permute(2, 0, 1)[None].repeat(16, 1, 1, 1) / 255


@pytest.fixture(scope="module")
def grey() -> Tensor:
    from fieldtrial.config import TrainConfig

    data = load(TrainConfig(dataset="digits"), None)
    return torch.from_numpy(data.images[data.train[:1]]).permute(0, 3, 1, 2).repeat(16, 1, 1, 1) / 255


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
    assert len({image.numpy().tobytes() for image in changed}) >= (2 if "flip" in names[0] and len(names) == 1 else 8)
    torch.rand(7)
    assert torch.equal(augment(images, names, seed=3), changed)
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
            torch.equal(after, before.flip(dimension - 1)) for after, before in zip(changed, colour, strict=True)
        ]
        kept = [torch.equal(after, before) for after, before in zip(changed, colour, strict=True)]
        assert all(a != b for a, b in zip(flipped, kept, strict=True))
        assert 2 <= sum(flipped) <= 14


def test_crop_shifts_by_an_eighth_at_most(colour: Tensor) -> None:
    padded = torch.nn.functional.pad(colour[:1], (4, 4, 4, 4), mode="reflect")[0]
    windows = {padded[:, y : y + 32, x : x + 32].numpy().tobytes() for y in range(9) for x in range(9)}
    assert all(image.numpy().tobytes() in windows for image in augment(colour, ("crop",), seed=0))


def test_order_counts(colour: Tensor) -> None:
    forwards = augment(colour, ("rotation", "crop"), seed=1)
    assert not torch.equal(forwards, augment(colour, ("crop", "rotation"), seed=1))


@pytest.mark.parametrize("name", ["crop", "random_resized_crop"])
def test_the_warp_of_gpus_cuts_what_slices_cut(name: str, colour: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    sliced = augment(colour, (name,), seed=5)
    monkeypatch.setattr(augment_module, "_cropping_mode", lambda _: "resample")
    assert torch.allclose(augment(colour, (name,), seed=5), sliced, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images_survive(size: int) -> None:
    assert augment(torch.rand(4, 1, size, size), NAMES, seed=0).shape == (4, 1, size, size)


def test_no_names_mean_no_change_and_no_kornia(colour: Tensor) -> None:
    assert augment(colour, (), seed=0) is colour
    code = (
        "import sys, torch; from fieldtrial.training.augment import augment; augment(torch.rand(2, 1, 8, 8), (), 0);"
        "sys.exit('kornia' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_what_the_cpu_draws(colour: Tensor) -> None:
    for name in NAMES:
        on_gpu = augment(colour.cuda(), (name,), seed=9)
        assert on_gpu.is_cuda
        assert torch.allclose(on_gpu.cpu(), augment(colour, (name,), seed=9), atol=1e-3)
