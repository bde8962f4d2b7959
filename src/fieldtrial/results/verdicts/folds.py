"""Folds in the place of seeds: each run was trained on other images, and tested on the rest.

All images together are tested once, so new images change a mean as they do with a single run. What
a training changes is seen from fold to fold: the variance of the folds' means, less what their
images explain one by one. Trainings that share images are alike, so this variance counts for more
than over as many independent trainings: 1 / folds plus the tested part over the trained one
(`power.fold_factor`). Of the images, which no two folds share, it counts once.

Rows are tested on the same folds. What makes a fold easy for all rows is no difference between
them, so all this is of weighted sums of rows, such as a difference.

Sources: C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003,
for the factor. T. G. Dietterich, "Approximate Statistical Tests for Comparing Supervised
Classification Learning Algorithms", Neural Computation 10, 1998, for what tests without it do. Y.
Bengio, Y. Grandvalet, "No Unbiased Estimator of the Variance of K-Fold Cross-Validation", Journal
of Machine Learning Research 5, 2004, for why there is an assumption in it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldtrial.power import fold_factor

Values = NDArray[np.float64]
Places = NDArray[np.int64]
CHUNK = 2_000_000  # numbers that are held at once


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds that a row was tested on.

    numbers: of those that there are, rising, from 0 on. count: into how many the images were cut.
    of_image: the place in `numbers` of each image's fold, (images,); None without scores.
    """

    numbers: Places
    count: int
    of_image: Places | None = None

    @property
    def are_all(self) -> bool:
        """Whether each fold was tested."""
        return len(self.numbers) == self.count


@dataclass(frozen=True, eq=False)
class FoldMeans:
    """What several rows scored in each of the same folds.

    values: (rows, folds). steps: in which they are counted, (rows,); see `crossed.Runs`.
    sets: for each set of images, the rows that scored it, their scores (rows, images), and the fold
    of each image.
    prior: degrees of freedom that the rows' common level adds; see `crossed`.
    """

    values: Values
    steps: Values
    sets: list[tuple[Places, Values, Places]]
    prior: float

    @property
    def factor(self) -> float:
        """What the variance from fold to fold is multiplied by, for that of the folds' mean."""
        return fold_factor(self.values.shape[1])

    def of_rows(self) -> tuple[Values, Values, Values]:
        """Return what `of` does, of each row minus the mean of all; of a single row, its own."""
        return self.of(self._rows)

    @property
    def _rows(self) -> Values:
        rows = len(self.values)
        return np.eye(rows) - (1 / rows if rows > 1 else 0.0)

    def of(self, weights: Values) -> tuple[Values, Values, Values]:
        """Return how weighted sums of rows vary from fold to fold; weights: (sums, rows).

        They are the variance, the part of it that the images explain one by one, and the degrees of
        freedom that the variance is known with, a value for each sum.
        """
        variance, floor = self._spread(weights)
        freedom = self.values.shape[1] - 1.0
        if self.prior:
            of_rows, own = self._spread(self._rows)
            have_images = bool((floor > 0).all() and (own > 0).all())
            unit = floor if have_images else (weights**2).sum(1)
            level = (of_rows / (own if have_images else (self._rows**2).sum(1))).mean()
            variance = (self.prior * level * unit + freedom * variance) / (self.prior + freedom)
        return (
            np.maximum(variance, floor),
            floor,
            np.full(len(weights), freedom + self.prior),
        )

    def _spread(self, weights: Values) -> tuple[Values, Values]:
        """Return the variance from fold to fold of each sum, and what the images explain of it."""
        least = weights**2 @ (self.steps**2 / 12)  # Sheppard's correction; see `crossed.family_of`
        variance = np.maximum((weights @ self.values).var(axis=1, ddof=1), least)
        floor = np.zeros(len(weights))
        for rows, scores, fold in self.sets:
            counts = np.bincount(fold)
            step = max(1, CHUNK // scores.shape[1])
            for first in range(0, len(weights), step):
                part = slice(first, first + step)
                own = weights[part][:, rows] @ scores
                means = np.stack([np.bincount(fold, one) for one in own]) / counts
                left = ((own - means[:, fold]) ** 2).sum(1) / max(1, len(fold) - len(counts))
                floor[part] += left * (1 / counts).mean()
        return variance, floor
