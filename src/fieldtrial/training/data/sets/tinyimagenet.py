"""Tiny ImageNet: 200 classes of ImageNet (Deng et al. 2009) at 64 pixels, from CS231n."""

import functools
from collections import Counter
from pathlib import Path

from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Contents,
    Dataset,
    files_fingerprint,
    problem,
)
from fieldtrial.training.data.fetch.archive import Archive

LISTS = ("wnids.txt", "words.txt", "val/val_annotations.txt")
ARCHIVE = Archive(
    dataset="tinyimagenet",
    folder="tiny-imagenet-200",
    inside="tiny-imagenet-200",
    names=("tiny-imagenet-200.zip",),
    url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    digest="md5:90528d7ca1a48142e341f4ef8d21d0de",
    # the images in test/ have no labels
    wanted=lambda name: not name.startswith("tiny-imagenet-200/test/"),
    required=LISTS,
)


def tinyimagenet(root: Path) -> Dataset:
    """Return the images of `root`/tiny-imagenet-200; val/, by val_annotations.txt, is the test set.

    Classes are numbered by their WordNet ids in alphabetical order, as torchvision's ImageFolder
    numbers them, and named by their first word in words.txt.

    Raises:
        ConfigError: they are not there and cannot be downloaded; the lists are missing.
    """
    folder = ARCHIVE.obtain(root)
    return Dataset(
        name=ARCHIVE.dataset,
        fingerprint=files_fingerprint(
            [*(folder / name for name in LISTS), folder / "train", folder / "val" / "images"]
        ),
        channels=3,
        image_size=64,
        contents=functools.partial(_contents, folder),
    )


def _contents(folder: Path) -> Contents:
    ids = sorted((folder / "wnids.txt").read_text().split())
    numbers = {name: number for number, name in enumerate(ids)}
    train = [
        (path, number, TRAIN)
        for name, number in numbers.items()
        for path in sorted((folder / "train" / name).glob("*/*.JPEG"))
    ]
    annotations = [
        line.split("\t")
        for line in (folder / "val" / "val_annotations.txt").read_text().splitlines()
    ]
    unknown = sorted(
        {fields[1] if len(fields) > 1 else fields[0] for fields in annotations} - set(ids)
    )
    if unknown:
        raise problem(
            ARCHIVE.dataset,
            f"val_annotations.txt names classes that wnids.txt has not: {unknown[:10]}",
        )
    images = folder / "val" / "images"
    test = [(images / fields[0], numbers[fields[1]], TEST) for fields in annotations]
    return Contents.of_files(_class_names(folder, ids), train + test)


def _class_names(folder: Path, ids: list[str]) -> tuple[str, ...]:
    """Return the first of each class's words, or all of them where two classes share the first."""
    lines = (line.partition("\t") for line in (folder / "words.txt").read_text().splitlines())
    words = {name: text for name, _, text in lines}
    texts = [words.get(name, name) for name in ids]
    firsts = [text.partition(",")[0].strip() for text in texts]
    count = Counter(firsts)
    return tuple(
        first if count[first] == 1 else text for first, text in zip(firsts, texts, strict=True)
    )
