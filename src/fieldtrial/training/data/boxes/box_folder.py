"""A folder of images with labelled boxes, in COCO's JSON or in YOLO's texts."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from fieldtrial.disk.reading import UnreadableError
from fieldtrial.training.data.boxes.coco import read_coco
from fieldtrial.training.data.boxes.labelled import Labels
from fieldtrial.training.data.boxes.stored import BoxAnnotations
from fieldtrial.training.data.boxes.yolo_text import NAMES, read_yolo
from fieldtrial.training.data.dataset import (
    TEST,
    TEST_FRACTION,
    TRAIN,
    VALIDATION,
    Contents,
    Dataset,
    problem,
)
from fieldtrial.training.data.sets.image_folder import folder_fingerprint
from fieldtrial.training.data.sets.image_walk import PassedOver, images_below

IMAGE_SIZE = 416  # what YOLOv3 was published with; J. Redmon, A. Farhadi 2018
LAYOUT = (
    "it must hold images and their boxes: COCO's JSON in annotations/ or beside the images, or"
    f" YOLO's texts in labels/ (or beside the images) with {NAMES[0]}"
)
SUFFIXES = (".json", ".txt", ".names")  # of labels, and of the names of their classes
EVERY = ("any class",)  # images with boxes are cut as if they were of one class


def box_folder(root: Path) -> Dataset:
    """Return the images below `root` with their boxes.

    Parts are known by the names of folders or of JSON files; see `read_coco` and `read_yolo`.
    Without test images, those of validation are the test set; without both, a fixed fifth is.
    JSON files with COCO's lists come before texts.

    Raises:
        ConfigError: there are no images. What is wrong with the labels is raised by `contents`.
    """
    dataset = f"boxes:{root}"
    passed = PassedOver()
    images = list(images_below(root, passed))
    if not images:
        raise problem(dataset, f"{root} holds no image; {LAYOUT}")
    labels = sorted(path for path in passed.others if path.suffix in SUFFIXES)
    passed.unreadable -= Counter(path.suffix for path in labels)
    files = [path for path in labels if path.suffix == ".json"]
    return Dataset(
        name=dataset,
        fingerprint=folder_fingerprint(dataset, root, [*images, *labels]),
        channels=3,
        image_size=IMAGE_SIZE,
        contents=lambda: _contents(dataset, root, images, files),
        remarks=tuple(passed.remarks()),
        test_fraction=TEST_FRACTION,
    )


def _contents(dataset: str, root: Path, images: list[Path], files: list[Path]) -> Contents:
    """Return the labelled images. Raises ConfigError with all that is wrong with the labels."""
    try:
        coco = read_coco(files, images, root)
        labels = coco or read_yolo(images, root)
    except (UnreadableError, OSError) as error:
        raise problem(dataset, str(error)) from None
    if labels.problems:
        # A damaged file of COCO's is not told from one of another kind.
        other = (
            []
            if coco or not files
            else [f"{files[0]}: is not JSON with COCO's images, annotations and categories"]
        )
        raise problem(dataset, *labels.problems, *other, LAYOUT)
    return contents_of(dataset, labels)


def contents_of(dataset: str, labels: Labels) -> Contents:
    """Return the images of `labels` with their boxes.

    Raises:
        ConfigError: no training image has a box.
    """
    parts = np.array(labels.parts, np.uint8)
    if TEST not in parts:
        parts[parts == VALIDATION] = TEST
    if not len(parts) or TRAIN not in parts:
        raise problem(dataset, f"there are no training images; {LAYOUT}")
    boxes = labels.boxes()
    per_image = np.diff(boxes.starts)
    if not per_image[parts == TRAIN].any():
        raise problem(dataset, "no training image has a box")
    made = Contents.of_files(EVERY, [(path, 0, 0) for path in labels.paths])
    sizes = np.array([size or (0, 0) for size in labels.sizes], np.int64)
    annotations = BoxAnnotations(boxes, sizes)
    return replace(made, parts=parts, annotations=annotations, remarks=labels.remarks())
