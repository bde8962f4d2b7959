"""Crops of 8-bit images: torch's and Pillow's agree, and windows and mirrors are torchvision's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop, functional

from fieldtrial.config import TrainConfig
from fieldtrial.training.data.crops import (
    draw_window,
    mirrored,
    resampling,
    resize,
    resize_by_pillow,
)
from fieldtrial.training.data.load import load
from fieldtrial.training.data.recipe import Recipe
from tests.training.photos import cut


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("sides", [(40, 50), (200, 300), (120, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_torch_and_pillow_resize_to_the_same_pixels_but_for_rounding(
    interpolation: str, sides: tuple[int, int], channels: int
) -> None:
    pixels = cut(1, 120, 160)[..., :channels]
    ours, theirs = (way(pixels, *sides, interpolation) for way in (resize, resize_by_pillow))
    assert ours.shape == theirs.shape == (*sides, channels)
    assert np.abs(ours.astype(int) - theirs).max() <= 2
    assert theirs.std() > 5  # there is something to see


@pytest.mark.parametrize("size", [(375, 500), (64, 64), (20, 300), (300, 20), (1, 1)])
def test_windows_are_torchvisions(size: tuple[int, int]) -> None:
    image = torch.empty(3, *size)
    generator = torch.Generator().manual_seed(5)
    own = [draw_window(*size, generator) for _ in range(200)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        draw = RandomResizedCrop.get_params
        theirs = [draw(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(200)]
    assert own == theirs


@pytest.mark.parametrize("start", [-3, 0, 2, 5])
def test_beyond_the_border_an_image_is_mirrored(start: int) -> None:
    image = torch.arange(7.0).view(1, 1, 7)
    padded = functional.pad(image, [3, 0], padding_mode="reflect")[0, 0]
    seen = mirrored(torch.arange(start, start + 5), 7)
    assert seen.tolist() == padded[start + 3 : start + 8].tolist()


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (333, 201), (256, 256)])
@pytest.mark.parametrize("sides", ["shorter side", "both sides"])
def test_a_recipe_knows_the_sides_of_what_it_resizes(size: tuple[int, int], sides: str) -> None:
    recipe = Recipe.parse(f"{sides} resized to 146 pixels (bilinear), centre of 128 pixels")
    assert recipe is not None
    assert recipe.resize(Image.new("L", size)).size == recipe.sides_of(*size)


def test_another_way_to_resize_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIELDTRIAL_RESAMPLING", "cubic")
    with pytest.raises(ValueError, match="RESAMPLING = 'cubic': must be torch or pillow"):
        resampling()


def test_squares_made_of_kept_originals_are_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is decoded once for both stores, and large ones, which are kept smaller, twice."""
    for number, (width, height) in enumerate([(96, 64), (64, 96), (400, 300), (64, 64)] * 3):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cut(number, height, width)).save(path)
    for recipe in (None, Recipe("shorter side", 36, "bilinear", 32)):
        stores = []
        for crops in ((), ("random_resized_crop",)):
            monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path / f"{len(crops)} {recipe}"))
            config = TrainConfig(
                dataset=f"folder:{tmp_path / 'photos'}",
                augmentation=crops,
                validation_fraction=0.3,
            )
            stores.append(load(config, 32, recipe=recipe))
        alone, beside = stores
        assert alone.originals is None
        assert beside.originals is not None
        assert alone.mean == beside.mean
        assert np.array_equal(alone.images, beside.images)
