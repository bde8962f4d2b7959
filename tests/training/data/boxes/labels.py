"""Small folders of images with labelled boxes, in COCO's and in YOLO's form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 20  # of each image
CLASSES = ("car", "bus")
Box = tuple[int, float, float, float, float]  # class, left, top, width, height in pixels


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, *path.name.encode()])
    Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), np.uint8)).save(path)


def boxes_of(number: int) -> list[Box]:
    """One box in an image, two in every third."""
    first = (number % 2, 4.0 + number % 5, 2.0, 10.0, 8.0)
    return [first, (1, 20.0, 5.0, 15.0, 10.0)] if number % 3 == 0 else [first]


def coco_of(images: Mapping[str, Sequence[Box]], **more: Any) -> dict[str, Any]:
    """Return COCO's lists for images by name; classes have the ids 3 and 7."""
    pictures = [
        {"id": 100 + number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(images)
    ]
    owned = [(number, box) for number, boxes in enumerate(images.values()) for box in boxes]
    annotations = [
        {"id": id_, "image_id": 100 + number, "category_id": (3, 7)[label], "bbox": bbox}
        for id_, (number, (label, *bbox)) in enumerate(owned, start=1)
    ]
    categories = [{"id": id_, "name": name} for id_, name in zip((3, 7), CLASSES, strict=True)]
    return {"images": pictures, "annotations": annotations, "categories": categories} | more


def write_coco(root: Path, parts: dict[str, int]) -> None:
    """Write images and annotations/instances_PART.json for parts with so many images each."""
    (root / "annotations").mkdir(parents=True)
    for part, count in parts.items():
        names = {f"{part}{number:02}.png": boxes_of(number) for number in range(count)}
        for name in names:
            picture(root / "images" / part / name)
        path = root / "annotations" / f"instances_{part}2017.json"
        path.write_text(json.dumps(coco_of(names)))


def write_yolo(root: Path, parts: dict[str, int], inside: str = "images/{}") -> None:
    """Write images and texts for parts with so many images each; `inside` has the images' place."""
    for part, count in parts.items():
        for number in range(count):
            image = root / inside.format(part) / f"{part}{number:02}.png"
            picture(image)
            lines = [
                f"{label} {(left + width / 2) / WIDTH} {(top + height / 2) / HEIGHT}"
                f" {width / WIDTH} {height / HEIGHT}"
                for label, left, top, width, height in boxes_of(number)
            ]
            place = inside.format(part).replace("images", "labels")
            text = (root / place / image.name).with_suffix(".txt")
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("\n".join(lines))
    (root / "classes.txt").write_text("\n".join(CLASSES))
