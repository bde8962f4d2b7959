"""Squares by a recipe are the library's own; random crops come from the original image."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
import torchvision.models
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from fieldtrial.config import TrainConfig
from fieldtrial.training.data import originals
from fieldtrial.training.data.crops import resize
from fieldtrial.training.data.image_store import open_store
from fieldtrial.training.data.load import load
from fieldtrial.training.data.recipe import Recipe, text_of
from fieldtrial.training.data.sets.registry import open_dataset
from fieldtrial.training.distributed.world import World
from fieldtrial.training.loop.batches import CROP, augmented, batches, crops, random_number
from fieldtrial.training.models.source import ModelSource


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image whose every part is another: noise, enlarged a little."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of wide and high photographs without loss."""
    for number in range(12):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(*((96, 64) if number % 3 else (64, 96)), number).save(path)
    return tmp_path / "photos"


def recipe_of(model: str, weights: str = "imagenet", **values: object) -> Recipe | None:
    config = TrainConfig.from_dict({"model": model, "weights": weights, **values})
    return ModelSource.of(config).recipe


@pytest.mark.parametrize("size", [(340, 256), (201, 333), (224, 224)])
def test_a_square_has_the_librarys_own_pixels(size: tuple[int, int]) -> None:
    image = photo(*size)
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    recipe = recipe_of("torchvision:resnet50")
    assert str(recipe) == "shorter side resized to 232 pixels (bilinear), centre of 224 pixels"
    preset = weights.transforms()
    theirs = preset(image) * torch.tensor(preset.std).view(3, 1, 1)
    theirs = ((theirs + torch.tensor(preset.mean).view(3, 1, 1)) * 255).round()
    assert recipe is not None
    own = torch.from_numpy(np.array(recipe.apply(image))).permute(2, 0, 1)
    assert torch.equal(own, theirs.to(torch.uint8))
    for name in ("resnet18", "convnext_tiny", "vit_base_patch16_clip_224"):
        settings = timm.data.resolve_data_config(
            pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()
        )
        transform = timm.data.create_transform(**settings)
        recipe = recipe_of(f"timm:{name}")
        assert recipe is not None
        picture = image
        for step in transform.transforms[:2]:  # resize and crop
            picture = step(picture)
        assert np.array_equal(np.array(recipe.apply(image)), np.array(picture)), name


def test_which_recipe_a_config_means() -> None:
    assert recipe_of("squeezenet1_0", "random") is None
    assert recipe_of("squeezenet1_0", preprocessing="square") is None
    small = recipe_of("squeezenet1_0", image_size=112)
    assert small == Recipe("shorter side", 128, "bilinear", 112)
    assert Recipe.parse(str(small)) == small
    assert Recipe.parse(text_of(None, 8)) is None


def test_a_store_is_made_by_its_recipe_and_the_square_ones_stay(
    folder: Path, tmp_path: Path
) -> None:
    found, stores = open_dataset(f"folder:{folder}", tmp_path), tmp_path / "stores"
    recipe = Recipe("shorter side", 40, "bilinear", 32)
    square, framed = (open_store(found, 32, stores, recipe=one) for one in (None, recipe))
    assert square.name != framed.name
    identity = f"4 photos {found.fingerprint} 32 content"  # of the stores that are on disks
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    assert square.name == f"photos-32px-{key}"
    with Image.open(folder / "class0" / "0.png") as image:
        assert np.array_equal(framed.images[0], np.array(recipe.apply(image)))


def crop_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> tuple[TrainConfig, NDArray[np.uint8]]:
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(folder.parent / "stores"))
    config = TrainConfig.from_dict(
        {
            "dataset": f"folder:{folder}",
            "augmentation": [name],
            "image_size": 32,
            "seed": 3,
            "validation_fraction": 0.3,
        }
    )
    data = load(config, 32)
    draw = crops(data, config, 7, 0)
    (batch,) = batches(data, data.train, len(data.train), World(), draw)
    assert augmented(batch, config, data, 7, 0) is batch  # not cropped again
    return config, batch.images.numpy()


@pytest.mark.parametrize(("by", "most"), [("torch", 1), ("pillow", 0)])
def test_resized_crops_are_torchvisions_of_the_original(
    folder: Path, monkeypatch: pytest.MonkeyPatch, by: str, most: int
) -> None:
    monkeypatch.setenv("FIELDTRIAL_RESAMPLING", by)
    config, drawn = crop_data(folder, monkeypatch, "random_resized_crop")
    data = load(config, 32)
    paths = sorted(folder.glob("*/*.png"), key=lambda path: (path.parent.name, path.name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_number(CROP, 3, 7, 0))
        for index, own in zip(data.train.tolist(), drawn, strict=True):
            with Image.open(paths[index]) as image:
                theirs = np.array(RandomResizedCrop(32)(image))
            assert np.abs(own.astype(int) - theirs).max() <= most


def test_shifted_crops_see_all_of_the_original(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = crop_data(folder, monkeypatch, "crop")
    found = load(config, 32).originals
    assert found is not None
    wide = next(index for index, size in enumerate(found.sizes.tolist()) if size[1] == 96)
    resized = resize(found.image(wide), 32, 48, "bicubic")
    places = {(0, 0): 0, (0, 16): 0, (0, 8): 0}
    for seed in range(2000):
        (own,) = found.crops(np.array([wide]), ["crop"], seed)
        for top, left in places:
            places[top, left] += np.array_equal(own, resized[top : top + 32, left : left + 32])
    assert all(places.values())  # both ends, which a centre square of it lacks, and the centre


def test_images_that_are_the_squares_themselves_are_not_kept_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIELDTRIAL_CACHE", str(tmp_path))
    config = TrainConfig(dataset="digits", augmentation=("crop",))
    assert load(config, None).originals is None
    larger = load(config, 16).originals
    assert larger is not None
    assert larger.sizes[0].tolist() == [8, 8, 1]
    assert larger.crops(np.array([0, 1]), ["random_resized_crop"], 0).shape == (2, 16, 16, 1)


def test_squares_of_which_a_recipe_sees_the_centre_alone_are_kept_whole(tmp_path: Path) -> None:
    for number in range(10):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(32, 32, number).save(path)
    found = open_dataset(f"folder:{tmp_path / 'photos'}", tmp_path)
    for recipe, is_kept in (
        (Recipe("shorter side", 37, "bilinear", 32), True),
        (Recipe("shorter side", 32, "bilinear", 32), False),
        (None, False),
    ):
        kept = originals.open_originals(found, 32, recipe, tmp_path / "stores")
        assert (kept is not None) == is_kept


def test_large_originals_are_kept_with_a_shorter_side_of_twice_the_crops(tmp_path: Path) -> None:
    for number in range(10):
        part = "test" if number > 7 else "train"
        path = tmp_path / "photos" / part / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(120, 80, number).save(path)
    found = open_dataset(f"folder:{tmp_path / 'photos'}", tmp_path)
    kept = originals.open_originals(found, 20, None, tmp_path / "stores")
    assert kept is not None
    assert {tuple(size) for size in kept.sizes.tolist()} == {(40, 60, 3), (0, 0, 0)}
