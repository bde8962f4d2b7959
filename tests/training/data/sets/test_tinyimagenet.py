"""tinyimagenet, from a small archive in the layout of the real one, with real images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldtrial.config import ConfigError
from fieldtrial.training.data.load import Data
from tests.training.photos import cut, jpeg, near, sizes, write_zip


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Write tiny-imagenet-200.zip with three classes, listed out of order as in the real lists."""
    words = {
        "n02124075": "Egyptian cat",
        "n01443537": "goldfish, Carassius auratus",
        "n03126707": "crane",
        "n02012849": "crane",
        "n09999999": "something else",
    }
    top, ids = "tiny-imagenet-200", list(words)[:3]
    files = {
        f"{top}/wnids.txt": "\n".join(ids).encode(),
        f"{top}/words.txt": "".join(f"{name}\t{text}\n" for name, text in words.items()).encode(),
        f"{top}/test/images/test_0.JPEG": jpeg(99),
    }
    annotations = ""
    for number, name in enumerate(ids):
        images = {
            f"{name}_{i}.JPEG": jpeg(10 * number + i, mode="L" if i == 1 else "RGB")
            for i in range(5)
        }
        files[f"{top}/train/{name}/{name}_boxes.txt"] = "".join(
            f"{image}\t0\t10\t63\t58\n" for image in images
        ).encode()
        files |= {
            f"{top}/train/{name}/images/{image}": content for image, content in images.items()
        }
    for number in range(6):
        files[f"{top}/val/images/val_{number}.JPEG"] = jpeg(50 + number)
        annotations += f"val_{number}.JPEG\t{ids[number % 3]}\t0\t32\t44\t62\n"
    write_zip(
        tmp_path / "tiny-imagenet-200.zip",
        files | {f"{top}/val/val_annotations.txt": annotations.encode()},
    )
    return tmp_path


def test_tinyimagenet_is_tested_on_its_annotated_images(
    tiny: Path, get: Callable[..., Data]
) -> None:
    data = get("tinyimagenet")
    assert (sizes(data), data.image_size) == ((12, 3, 6), 64)
    assert data.class_names == ("goldfish", "Egyptian cat", "crane")
    assert data.labels[data.test].tolist() == [1, 0, 2] * 2
    assert near(data.images[data.test[4]], cut(54, 64, 64))
    assert near(data.images[0], cut(10, 64, 64))  # of n01443537, the second in wnids.txt
    grey = np.asarray(Image.fromarray(cut(11, 64, 64)).convert("L").convert("RGB"))
    assert near(data.images[1], grey)
    assert get("tinyimagenet", classes="2").class_names == ("goldfish", "Egyptian cat")
    assert not (tiny / "tiny-imagenet-200" / "test").exists()


def test_classes_of_one_name_are_told_apart(tiny: Path, get: Callable[..., Data]) -> None:
    get("tinyimagenet")
    words = tiny / "tiny-imagenet-200" / "words.txt"
    words.write_text(words.read_text().replace("Egyptian cat", "crane, a bird"))
    assert get("tinyimagenet", 32).class_names == ("goldfish", "crane, a bird", "crane")


def test_damaged_tinyimagenet_is_named(tiny: Path, get: Callable[..., Data]) -> None:
    get("tinyimagenet")
    folder = tiny / "tiny-imagenet-200"
    annotations = folder / "val" / "val_annotations.txt"
    whole = annotations.read_text()
    annotations.write_text(whole + "val_6.JPEG\tn00000000\t0\t0\t1\t1\n")
    with pytest.raises(ConfigError, match=r"names classes that wnids.txt has not: \['n00000000'\]"):
        get("tinyimagenet", 32)
    annotations.write_text(
        "\n".join(line for line in whole.splitlines() if "n03126707" not in line)
    )
    with pytest.raises(ConfigError, match="no test image of 'crane'"):
        get("tinyimagenet", 33)
    annotations.unlink()
    with pytest.raises(
        ConfigError,
        match=r"no .*val_annotations.txt; remove .*tiny-imagenet-200 to have it unpacked",
    ):
        get("tinyimagenet", 34)
