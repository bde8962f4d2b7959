"""The 104 flowers of Kaggle's "Petals to the Metal", from its TFRecords or from class folders."""

import functools
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from fieldtrial.training.data.dataset import (
    TEST,
    TRAIN,
    Contents,
    Dataset,
    files_fingerprint,
    problem,
)
from fieldtrial.training.data.fetch.archive import Archive, kaggle_hint
from fieldtrial.training.data.sets.image_folder import IMAGE_SIZE, image_folder

LARGEST = "512x512"  # of the four sizes in the archives; the only one that is unpacked
PARTS = {"train": TRAIN, "val": TEST}  # the competition's own test images have no labels
ARCHIVE = Archive(
    dataset="flowers104",
    folder="flowers104",
    names=(
        "tpu-getting-started.zip",
        "flower-classification-with-tpus.zip",
        "104-flowers-garden-of-eden.zip",
    ),
    wanted=lambda name: bool(re.match(rf"(tfrecords-)?jpeg-{LARGEST}/(train|val)/", name)),
    hint=kaggle_hint("tpu-getting-started", "tpu-getting-started.zip"),
)
# In the order of the records' labels, from the competition's notebooks; the archive lacks them.
CLASS_NAMES = tuple(
    """pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, wild geranium,
    tiger lily, moon orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's
    foot, king protea, spear thistle, yellow iris, globe-flower, purple coneflower, peruvian
    lily, balloon flower, giant white arum lily, fire lily, pincushion flower, fritillary, red
    ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke,
    sweet william, carnation, garden phlox, love in the mist, cosmos, alpine sea holly,
    ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barberton
    daisy, daffodil, sword lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup,
    daisy, common dandelion, petunia, wild pansy, primula, sunflower, lilac hibiscus, bishop of
    llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia, cautleya spicata, japanese
    anemone, black-eyed susan, silverbush, californian poppy, osteospermum, spring crocus, iris,
    windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple, morning glory,
    passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, columbine,
    desert-rose, tree mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm,
    pink quill, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia, blanket
    flower, trumpet creeper, blackberry lily, common tulip, wild rose""".replace(
        "\n    ", " "
    ).split(", ")
)


def flowers104(root: Path) -> Dataset:
    """Return the flowers; val is the test set, and of several sizes the largest is taken.

    They are under `root`, or `root`/flowers104, as tfrecords-jpeg-SIZE/{train,val}/*.tfrec, as
    jpeg-SIZE/{train,val}/CLASS or as train/CLASS and val/CLASS.

    Raises:
        ConfigError: they are not there; the message says how to get them.
    """
    folder = _largest(root)
    if folder is None:
        folder = ARCHIVE.obtain(root)
        folder = _largest(folder) or folder
    if not (folder / "train").is_dir() or not (folder / "val").is_dir():
        text = f"{folder} has no folders train/ and val/, nor tfrecords-jpeg-{LARGEST}/ with them"
        raise problem(ARCHIVE.dataset, text)
    if not list(folder.glob("train/*.tfrec")):
        return image_folder(folder, ARCHIVE.dataset, PARTS)
    files = {
        path: part
        for name, part in PARTS.items()
        for path in sorted((folder / name).glob("*.tfrec"))
    }
    return Dataset(
        name=ARCHIVE.dataset,
        fingerprint=files_fingerprint(files),
        channels=3,
        image_size=IMAGE_SIZE,
        contents=functools.partial(_contents, files),
    )


def _largest(folder: Path) -> Path | None:
    """Return the folder with the largest images in `folder`, TFRecords before class folders."""
    sizes = [
        (int(match[2]), match[1] is not None, path)
        for path in folder.glob("*jpeg-*")
        if (match := re.fullmatch(r"(tfrecords-)?jpeg-(\d+)x\2", path.name)) and path.is_dir()
    ]
    return max(sizes)[2] if sizes else None


def _contents(files: dict[Path, int]) -> Contents:
    from fieldtrial.training.data.sets.tfrecords import parse_example, records  # late: protobuf

    places: list[tuple[Path, int, int]] = []
    labels, parts, problems = [], [], []
    for path, part in files.items():
        try:
            for position, data in records(path):
                (label,) = parse_example(data).get("class", ["none"])
                if label not in range(len(CLASS_NAMES)):
                    raise ValueError(
                        f"{path}: the record at byte {position} has the class {label!r}, not 0"
                        " to 103"
                    )
                places.append((path, position, len(data)))
                labels.append(label)
                parts.append(part)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise problem(ARCHIVE.dataset, *problems)

    def content(index: int) -> bytes:
        path, position, size = places[index]
        with path.open("rb") as file:
            file.seek(position)
            (encoded,) = parse_example(file.read(size))["image"]
        return bytes(encoded)

    return Contents(
        class_names=CLASS_NAMES,
        labels=np.array(labels, np.int64),
        parts=np.array(parts, np.uint8),
        image=lambda index: Image.open(io.BytesIO(content(index))),
        content=content,
        where=lambda index: f"{places[index][0]}, the record at byte {places[index][1]}",
    )
