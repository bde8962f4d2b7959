"""A picture of the place without the vehicles: the median of frames that are spread over time."""

import io

import numpy as np
from PIL import Image

from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.inside import Inside
from fieldtrial.video.pages.paint import Pixels

MOST_KEPT = 16  # frames; half as many at least, once so many have come
WIDEST = 1280  # pixels of a frame that is kept
QUALITY = 90  # of JPEG


class Background:
    """What stays while vehicles pass: the median of some of the frames that were added.

    It takes as much memory for hours of a stream as for a minute: 44 MB at 1280 × 720.
    """

    def __init__(self) -> None:
        self._kept: list[Pixels] = []
        self._every = 1  # of so many frames one is kept
        self._seen = 0

    def add(self, image: Pixels) -> None:
        """Take a frame uint8 (height, width, 3), RGB, into account; all have the same size."""
        if self._seen % self._every == 0:
            self._kept.append(_smaller(image))
        self._seen += 1
        if len(self._kept) == MOST_KEPT:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def picture(self) -> Pixels | None:
        """Return the median, at most WIDEST pixels wide; None if no frame was added."""
        if not self._kept:
            return None
        middle = len(self._kept) // 2
        rows = zip(*self._kept, strict=True)  # one at a time, which fits into a cache
        return np.stack([np.partition(np.stack(row), middle, axis=0)[middle] for row in rows])


def write_picture(path: Inside, image: Pixels) -> None:
    """Write a picture as JPEG, whole or not at all."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
    write_atomically(path, file.getvalue())


def _smaller(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    if width <= WIDEST:
        return image.copy()
    size = WIDEST, max(1, round(height * WIDEST / width))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BOX))
