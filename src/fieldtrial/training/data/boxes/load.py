"""The labelled boxes of a trial: which images train, select and test, and what is in them."""

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fieldtrial.config import TrainConfig
from fieldtrial.disk.schemas import BY_CONTENT, Cut
from fieldtrial.processes import data_root
from fieldtrial.training.data.boxes.labelled import Boxes
from fieldtrial.training.data.boxes.stored import read_boxes
from fieldtrial.training.data.dataset import Wanted
from fieldtrial.training.data.image_store import store_root
from fieldtrial.training.data.labels.chosen import chosen_classes
from fieldtrial.training.data.load import Data, load
from fieldtrial.training.data.recipe import Letterbox
from fieldtrial.training.data.sets.registry import box_image_size, locate
from fieldtrial.training.data.splits import Indices

NO_BOX = -1  # the class of padding among an image's targets


@dataclass(frozen=True, eq=False, kw_only=True)
class BoxData(Data):
    """Data with boxes; `labels`, `mean` and `std` say nothing.

    Attributes:
        boxes: of the chosen classes, in shares of the square images.
    """

    boxes: Boxes
    targets_suffice: ClassVar[bool] = False  # crowds are no targets
    counted: ClassVar[str] = "boxes"

    def targets(self, chosen: Indices) -> NDArray[np.float32]:
        """Return the boxes of the images `chosen`, float32 (n, most, 5).

        A box is its class and its centre, width and height in shares of the image. `most` is the
        largest number of boxes among the images, and at least 1; the class of padding is NO_BOX.
        Boxes around crowds are no targets.
        """
        boxes = self.boxes
        own = [
            np.flatnonzero(~boxes.crowds[boxes.of(i)]) + boxes.starts[i] for i in chosen.tolist()
        ]
        targets = np.zeros((len(own), max(1, *map(len, own), 1), 5), np.float32)
        targets[:, :, 0] = NO_BOX
        for row, places in zip(targets, own, strict=True):
            corners = boxes.corners[places]
            row[: len(places), 0] = boxes.labels[places]
            row[: len(places), 1:3] = (corners[:, :2] + corners[:, 2:]) / 2
            row[: len(places), 3:] = corners[:, 2:] - corners[:, :2]
        return targets

    def caption(self, index: int) -> str:
        """Return the names of the classes that image `index` has boxes of."""
        own = np.unique(self.boxes.labels[self.boxes.of(index)])
        return ", ".join(self.class_names[number] for number in own)

    def frames(self, index: int) -> list[list[float]]:
        """See Data."""
        corners = self.boxes.corners[self.boxes.of(index)] * self.image_size
        return [one.tolist() for one in corners]

    def count(self, chosen: Indices) -> Indices:
        """Return how many boxes each class has in the images `chosen`, crowds left out."""
        boxes = self.boxes
        times = np.bincount(chosen, minlength=len(boxes.starts) - 1)
        counted = np.repeat(times, np.diff(boxes.starts)) * ~boxes.crowds
        found = np.bincount(boxes.labels, counted, minlength=len(self.class_names))
        return found.astype(np.int64)


def load_boxes(config: TrainConfig, image_size: int | None, cut: Cut = BY_CONTENT) -> BoxData:
    """Return the data of `config`, letterboxed to `image_size` pixels or the data set's own size.

    Images are decoded, cut and sampled as `load` does it, as if all were of one class. `classes`
    chooses among the boxes; an image without one of them shows background. Detectors take pixels
    from 0 to 1 as they are: the mean is 0 and the deviation 1.

    Raises:
        ConfigError: as `load`; or the data set has no boxes.
    """
    every = TrainConfig.from_dict(
        {"classes": "all", "images_per_class": None, "augmentation": ()}, config
    )
    size = image_size or box_image_size(config.dataset)
    data = load(every, size, cut, Letterbox(size), Wanted("detection"))
    name = locate(config.dataset, data_root())
    boxes = _boxes(store_root() / data.store, config.classes, name)
    known = {item.name: getattr(data, item.name) for item in fields(Data)}
    plain = {"class_names": boxes.class_names, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return BoxData(**known | plain, boxes=boxes)


@functools.lru_cache(maxsize=16)
def _boxes(folder: Path, classes: str, dataset: str) -> Boxes:
    boxes = read_boxes(folder)
    return boxes.of_classes(chosen_classes(classes, dataset, boxes.class_names))
