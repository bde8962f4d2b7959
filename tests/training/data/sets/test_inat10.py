"""inat10, from a small archive in the layout of the real one, with real images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.training.data.load import Data
from tests.training.photos import cut, jpeg, near, sizes, write_zip

INAT = (
    "Amphibia",
    "Animalia",
    "Arachnida",
    "Aves",
    "Fungi",
    "Insecta",
    "Mammalia",
    "Mollusca",
    "Plantae",
    "Reptilia",
)


@pytest.fixture
def nature(tmp_path: Path) -> Path:
    """Write nature_12K.zip with 5 and 2 images of each class, and what macOS leaves."""
    files = {"inaturalist_12K/.DS_Store": b"\0", "inaturalist_12K/train/.DS_Store": b"\0"}
    for number, name in enumerate(INAT):
        files |= {
            f"inaturalist_12K/train/{name}/{i:x}.jpg": jpeg(10 * number + i, 50, 80)
            for i in range(5)
        }
        files |= {
            f"inaturalist_12K/val/{name}/{i:x}.jpg": jpeg(10 * number + i, 80, 50)
            for i in range(5, 7)
        }
    write_zip(tmp_path / "nature_12K.zip", files)
    return tmp_path


def test_inat10_is_tested_on_its_val_folder(nature: Path, get: Callable[..., Data]) -> None:
    data = get("inat10", 48)
    assert (sizes(data), data.class_names) == ((40, 10, 20), INAT)
    assert np.bincount(data.labels[data.test]).tolist() == [2] * 10
    wide, tall = cut(0, 50, 80)[:, 15:65], cut(5, 80, 50)[15:65]
    assert near(
        data.images[0], np.asarray(Image.fromarray(wide).resize((48, 48), Image.Resampling.BICUBIC))
    )
    assert near(
        data.images[data.test[0]],
        np.asarray(Image.fromarray(tall).resize((48, 48), Image.Resampling.BICUBIC)),
    )
    assert not list((nature / "inaturalist_12K").rglob(".DS_Store"))
    assert sizes(get("inat10", 48, classes="3-4", images_per_class=2)) == (4, 2, 4)
    assert get("inat10").image_size == 224


def test_inat10_without_a_class_names_it(nature: Path, get: Callable[..., Data]) -> None:
    get("inat10", 16)
    (nature / "inaturalist_12K" / "val" / "Fungi").rename(nature / "Fungi")
    with pytest.raises(ConfigError, match=r"dataset = 'inat10': .* only in train/: Fungi"):
        get("inat10", 17)
    (nature / "inaturalist_12K" / "val").rename(nature / "val")
    with pytest.raises(
        ConfigError, match=rf"dataset = 'inat10': no folder {nature}/inaturalist_12K/val$"
    ):
        get("inat10", 18)
