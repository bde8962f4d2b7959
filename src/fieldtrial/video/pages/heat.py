"""Where vehicles were, and for how long: a heat map over a picture of the place."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldtrial.video.pages.paint import Pixels

CELLS = 160  # along the longer side
MOST_PARTS = 3 * CELLS  # of the way between two points; a frame's diagonal has fewer
BLUR = 1.0  # cells: what a vehicle's point stands for is about so wide
GAMMA = 0.4  # of the colours: a lane that is driven through shows beside a queue that waits
COLOURS = "inferno"
STOPS = 9  # of the colour bar
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
OPAQUE = 0.88


class HeatMap:
    """Sums up the seconds that vehicles were in each cell of a frame of `size`, width and height.

    cell: the side of a cell, in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.cell = max(size) / CELLS
        columns, rows = (math.ceil(side / self.cell) for side in size)
        self.seconds: NDArray[np.float64] = np.zeros((rows, columns))

    def add(self, path: NDArray[np.float64]) -> None:
        """Add a track: (n, 3), x and y in pixels and the time in seconds, in order of time.

        Between two points a vehicle is taken to move evenly. What is outside the frame is left out.
        """
        steps = np.diff(path, axis=0)
        parts = np.ceil(np.hypot(steps[:, 0], steps[:, 1]) / (self.cell / 2)).clip(1, MOST_PARTS)
        counts = parts.astype(int)
        number = np.repeat(np.arange(len(steps)), counts)
        within = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
        share = (within + 0.5) / counts[number]
        x, y = (
            (path[:-1, axis][number] + share * steps[:, axis][number]) / self.cell
            for axis in (0, 1)
        )
        rows, columns = self.seconds.shape
        inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        weight = (steps[:, 2].clip(0) / counts)[number]
        place = y[inside].astype(int) * columns + x[inside].astype(int)
        summed = np.bincount(place, weight[inside], minlength=self.seconds.size)
        self.seconds += summed.reshape(self.seconds.shape)

    @property
    def most(self) -> float:
        """The seconds at the end of the colour scale: all but few cells have less."""
        known = self._smooth()
        return float(np.quantile(known[known > 1e-9], 0.998)) if known.max() > 1e-9 else 0.0

    def over(self, still: Pixels) -> Pixels:
        """Return the heat map over a picture of the place, which may have another size."""
        from matplotlib import colormaps  # late: only a page needs it

        height, width = still.shape[:2]
        grey = still.mean(axis=2, keepdims=True) * 0.6 + 40  # of no colour, so that heat has all
        if not self.most:
            return np.repeat(grey, 3, axis=2).astype(np.uint8)
        share = (self._smooth() / self.most).clip(0, 1) ** GAMMA
        shades = Image.fromarray(share.astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC, box=self._covered(still)
        )
        heat = np.asarray(shades).clip(0, 1)
        opacity = (heat * 2).clip(0, OPAQUE)[..., None]
        colour = 255 * colormaps[COLOURS](heat)[..., :3]
        mixed: Pixels = (grey * (1 - opacity) + colour * opacity).round().astype(np.uint8)
        return mixed

    def scale(self) -> tuple[list[str], list[float]]:
        """Return the colours of the bar, evenly spread, and the seconds at TICKS of its length."""
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        colours = colormaps[COLOURS](np.linspace(0, 1, STOPS))
        return list(map(to_hex, colours)), [self.most * share ** (1 / GAMMA) for share in TICKS]

    def _smooth(self) -> NDArray[np.float64]:
        from scipy.ndimage import gaussian_filter  # late: it takes a while

        smooth: NDArray[np.float64] = gaussian_filter(self.seconds, BLUR, mode="constant")
        return smooth

    def _covered(self, still: Pixels) -> tuple[float, float, float, float]:
        """Return which part of the cells the frame covers: the last ones may reach beyond it."""
        height, width = still.shape[:2]
        longer = CELLS / max(height, width)
        rows, columns = self.seconds.shape
        return 0, 0, min(columns, width * longer), min(rows, height * longer)


def read_path(text: str) -> NDArray[np.float64]:
    """Return a path of tracks.csv, "x y t;x y t;…", as (n, 3). Raises ValueError for other text."""
    points = np.array([point.split() for point in text.split(";") if point], float)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise ValueError("a path must be x y t;x y t;… with finite numbers")
    return points
