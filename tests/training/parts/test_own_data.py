"""Own data sets: decoded, kept and cut as those of this package are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.training.data.load import Data

Get = Callable[..., Data]
Project = Callable[..., str]

START = """
import numpy as np
from fieldtrial.training.contracts import TEST, TRAIN, Contents, Dataset, Images
"""
STRIPES = """
def stripes(root, shade: int = 100, named: bool = False):
    labels = np.arange(40) % 2
    images = np.zeros((40, 6, 6, 3), np.uint8)
    images[labels == 1, ::2] = shade
    images[:, 0, 0, 0] = np.arange(40)
    parts = ["train"] * 24 + ["validation"] * 8 + ["test"] * 8 if named else None
    return Images(images=images, labels=labels.tolist(), class_names=["plain", "striped"],
                  parts=parts)
"""


def test_images_in_memory_are_cut_as_others_or_as_they_say(project: Project, get: Get) -> None:
    name = f"{project(START + STRIPES, 'stripes')}:stripes"
    data = get(name)
    assert (data.class_names, data.channels, data.image_size) == (("plain", "striped"), 3, 6)
    assert [len(data.train), len(data.validation), len(data.test)] == [25, 7, 8]
    assert data.images[:, 0, 0, 0].tolist() == list(range(40))
    assert data.labels.tolist() == [0, 1] * 20
    assert set(data.images[1, 0, 1:].flatten()) == {100}
    own = get(name, **{"dataset.named": True, "dataset.shade": 50})
    assert own.train.tolist() == list(range(24))
    assert own.validation.tolist() == list(range(24, 32))
    assert own.test.tolist() == list(range(32, 40))
    assert set(own.images[1, 0, 1:].flatten()) == {50}
    assert own.store != data.store
    assert get(name, image_size=3).images.shape == (40, 3, 3, 3)


def test_files_are_found_below_the_data_root_and_cut_by_content(
    project: Project, get: Get, tmp_path: Path
) -> None:
    for number in range(30):
        Image.new("RGB", (9, 7), (number, 200, 0)).save(tmp_path / f"{number}.png")
    module = project(
        START + "def photos(root, first: int = 0):\n"
        "    names = [f'{number}.png' for number in range(first, 30)]\n"
        "    return Images(images=names, labels=[n % 2 for n in range(first, 30)],\n"
        "                  class_names=['even', 'odd'], image_size=4)\n",
        "photos",
    )
    data, fewer = get(f"{module}:photos"), get(f"{module}:photos", **{"dataset.first": 2})
    assert data.images.shape == (30, 4, 4, 3)
    parts = [
        {
            int(one.images[index, 0, 0, 0]): name
            for name in ("train", "validation", "test")
            for index in getattr(one, name)
        }
        for one in (data, fewer)
    ]
    moved = sum(parts[0][number] != part for number, part in parts[1].items())
    assert moved <= 4  # by places, taking two images out would move a dozen
    (tmp_path / "7.png").unlink()
    with pytest.raises(ConfigError, match=r"no such files: .*/7\.png"):
        get(f"{module}:photos", **{"dataset.first": 1})


def test_a_dataset_may_list_its_images_late(project: Project, get: Get) -> None:
    module = project(
        START + "def late(root, shade: int = 9):\n"
        "    def contents():\n"
        "        pixels = np.full((20, 5, 5), shade, np.uint8)\n"
        "        pixels[:, 0, 0] = np.arange(20)\n"
        "        return Contents.of_arrays('late', ('a', 'b'),\n"
        "                                  [(TRAIN, pixels[:12], np.arange(12) % 2),\n"
        "                                   (TEST, pixels[12:], np.arange(8) % 2)])\n"
        "    return Dataset(name='late', fingerprint='1', channels=1, image_size=5,\n"
        "                   contents=contents)\n",
        "late",
    )
    shades = [
        get(f"{module}:late", **{"dataset.shade": shade}).images[0, 1, 1, 0] for shade in (9, 8)
    ]  # the fingerprint is the same
    assert shades == [9, 8]


IMAGES = "np.zeros((8, 4, 4), np.uint8)"
WRONG = [
    ("7", "gave an int, Images or a Dataset was expected"),
    (
        "Images(images=np.zeros((8, 4, 4)), labels=[0, 1] * 4, class_names=['a', 'b'])",
        r"images are a ndarray of shape \(8, 4, 4\), float64; uint8",
    ),
    (
        f"Images(images={IMAGES}, labels=[0, 2] * 4, class_names=['a', 'b'])",
        "labels are 0 to 2: must be 0 to 1, for there are 2 class_names",
    ),
    (
        f"Images(images={IMAGES}, labels=[0, 1] * 3, class_names=['a', 'b'])",
        "6 labels for 8 images",
    ),
    (
        f"Images(images={IMAGES}, labels=[0.5, 1] * 4, class_names=['a', 'b'])",
        "whole numbers",
    ),
    (
        f"Images(images={IMAGES}, labels=[0, 1] * 4, class_names=['a', 'a'])",
        "class_names are 'a', 'a': must be 2 or more texts, each another",
    ),
    (
        f"Images(images={IMAGES}, labels=[0, 1] * 4, class_names=['a', 'b'], parts=['dev'] * 8)",
        "parts: 'dev'; must be one of train, validation, test",
    ),
    (
        f"Images(images={IMAGES}, labels=[0, 1] * 4, class_names=['a', 'b'], parts=['test'] * 8)",
        "no training image of a, b|no training image of 'a', 'b'",
    ),
]


@pytest.mark.parametrize(("given", "says"), WRONG)
def test_what_does_not_fit_is_said(given: str, says: str, project: Project, get: Get) -> None:
    module = project(f"{START}def made(root): return {given}\n", "made")
    with pytest.raises(ConfigError, match=rf"dataset = '{module}:made': .*({says})"):
        get(f"{module}:made")


def test_labels_of_any_whole_type_are_taken(project: Project, get: Get) -> None:
    module = project(
        START + "def made(root):\n"
        "    return Images(images=np.arange(32, dtype=np.uint8).reshape(8, 2, 2).repeat(3, 0),\n"
        "                  labels=np.repeat(np.arange(8) % 2, 3).astype(np.int8),\n"
        "                  class_names=('a', 'b'))\n",
        "made",
    )
    data = get(f"{module}:made")
    assert data.labels.dtype == np.int64
    assert data.channels == 1
