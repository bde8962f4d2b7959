"""Pieces of real photos, and archives in the real layouts, for tests of data sets."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from fieldtrial.training.data.load import Data

PHOTOS = (load_sample_image("china.jpg"), load_sample_image("flower.jpg"))


def cut(number: int, height: int, width: int) -> np.ndarray:
    """Return a piece of a photo, another one for each number."""
    photo = PHOTOS[number % 2]
    top, left = number * 7 % (photo.shape[0] - height), number * 13 % (photo.shape[1] - width)
    return np.array(photo[top : top + height, left : left + width])


def jpeg(number: int, height: int = 64, width: int = 64, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(cut(number, height, width)).convert(mode).save(
        buffer, "JPEG", quality=95, subsampling=0
    )
    return buffer.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in dict.fromkeys(
            f"{parent}/" for file in files for parent in Path(file).parents if str(parent) != "."
        ):
            archive.mkdir(name.rstrip("/"))
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def sizes(data: Data) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def near(image: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether an image is the expected one, but for what a JPEG loses."""
    return bool(np.abs(image.astype(int) - expected).mean() < 5)
