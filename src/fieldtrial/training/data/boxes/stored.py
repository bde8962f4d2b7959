"""Labelled boxes beside their decoded images, placed in the squares that the images became."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.files import write_json
from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.data.recipe import AnyRecipe, Letterbox
from fieldtrial.training.data.splits import Indices

NAMES = "box_classes.json"


@dataclass(frozen=True, eq=False)
class BoxAnnotations:
    """The boxes of a data set's images; see `Annotations` in data/dataset.

    Attributes:
        boxes: in shares of the images.
        sizes: int64 (n, 2), the width and height that an image's boxes were made for; 0: any.
    """

    boxes: Boxes
    sizes: Indices

    def misfit(self, index: int, size: tuple[int, int]) -> str:
        """See Annotations."""
        width, height = self.sizes[index].tolist()
        if not width or (width, height) == size:
            return ""
        return (
            f"its boxes are for an image of {width} × {height} pixels, and upright, as a viewer"
            f" shows it, it has {size[0]} × {size[1]}"
        )

    def write(self, folder: Path, sizes: Indices, recipe: AnyRecipe | None) -> bytes:
        """See Annotations."""
        assert isinstance(recipe, Letterbox)
        boxes = self.boxes
        owners = np.repeat(np.arange(len(sizes)), np.diff(boxes.starts))
        np.save(folder / "corners.npy", recipe.place(boxes.corners, sizes[owners]))
        np.save(folder / "starts.npy", boxes.starts)
        np.save(folder / "box_labels.npy", boxes.labels)
        np.save(folder / "crowds.npy", boxes.crowds)
        np.save(folder / "box_keys.npy", keys := boxes.keys())
        write_json(folder / NAMES, boxes.class_names)
        names = json.dumps(boxes.class_names).encode()
        return hashlib.blake2b(names + keys.tobytes(), digest_size=16).digest()


def read_boxes(folder: Path) -> Boxes:
    """Return the boxes of the store in `folder`, in shares of its squares. Raises OSError."""
    return Boxes(
        starts=np.load(folder / "starts.npy"),
        corners=np.load(folder / "corners.npy"),
        labels=np.load(folder / "box_labels.npy"),
        crowds=np.load(folder / "crowds.npy"),
        class_names=tuple(json.loads((folder / NAMES).read_bytes())),
    )


def read_box_keys(folder: Path) -> NDArray[np.uint64] | None:
    """Return a key of each image's boxes in the store in `folder`; None: its images have none."""
    path = folder / "box_keys.npy"
    found: NDArray[np.uint64] | None = np.load(path) if path.exists() else None
    return found
