"""Whether verdicts over folds can be believed: classifiers that are trained, of which it is known
that they are equally good.

python benchmarks/verdicts_folds.py [--tables 1000] [--processes 2]

Images are made up of groups of features. Each row learns from a group of its own, by ridge
regression on random features that its seed draws; all groups tell as much of the class. So rows are
equal on the average over images to train and to test on, but not on any images: a fold's runs share
most of what they learned from, and with it the luck of their row. Counted are tables of such rows
with any difference to the first row shown; and of rows of which half see less, how many are shown.
Beside it stand other rules for the same answers. Writes benchmarks/results/verdicts_folds.json.
"""

import argparse
import itertools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from machine import write_result
from numpy.typing import NDArray
from scipy import stats  # noqa: TID253 (nothing of this runs in a worker)

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.comparisons import compare
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.folds import Folds

Values = NDArray[np.float64]
WIDTH = 16  # features of a group
HIDDEN = 24  # random features that a seed draws
RIDGE = 1.0
TRUE = 4000  # images that a row's true accuracy is measured on
METRIC = "test_accuracy"


@dataclass(frozen=True)
class Cell:
    """A kind of table. images: labelled ones. signal: how far the classes are apart in a group.

    shared: what the groups of all rows have in common, 0 to 1: 0 is another group for each row.
    """

    rows: int = 2
    folds: int = 5
    images: int = 200
    signal: float = 1.0
    shared: float = 0.5
    classes: int = 3


def groups(
    random: np.random.Generator, cell: Cell, centres: Values, label: NDArray[np.int64]
) -> Values:
    """Return each row's features of images of the classes `label`, (rows, images, WIDTH)."""
    count = len(label)
    common = random.normal(0, 1, (count, WIDTH))
    own = random.normal(0, 1, (cell.rows, count, WIDTH))
    noise = np.sqrt(cell.shared) * common + np.sqrt(1 - cell.shared) * own
    return np.asarray(noise + centres[:, label])


def trained(
    random: np.random.Generator, features: Values, label: NDArray[np.int64], classes: int
) -> Callable[[Values], NDArray[np.int64]]:
    """Return a classifier that has learned from `features` (images, WIDTH)."""
    draw = random.normal(0, 1 / np.sqrt(WIDTH), (WIDTH, HIDDEN))
    shift = random.normal(0, 1, HIDDEN)

    def hidden(given: Values) -> Values:
        return np.asarray(np.maximum(given @ draw + shift, 0))

    known = hidden(features)
    weights = np.linalg.solve(
        known.T @ known + RIDGE * np.eye(HIDDEN), known.T @ (np.eye(classes)[label] - 1 / classes)
    )
    return lambda given: np.asarray((hidden(given) @ weights).argmax(1))


def table(random: np.random.Generator, cell: Cell, weaker: Values) -> tuple[list[Runs], Values]:
    """Return the rows' answers over all folds, and their true accuracies with such trainings.

    weaker: what each row's signal is multiplied by, (rows,).
    """
    scale = cell.signal / np.sqrt(WIDTH)
    directions = np.random.default_rng(0).normal(0, 1, (cell.classes, WIDTH))  # the same in all
    centres = scale * weaker[:, None, None] * directions
    label = np.arange(cell.images) % cell.classes
    features = groups(random, cell, centres, label)
    fold = np.concatenate([
        random.permutation(np.arange(len(own)) % cell.folds)
        for own in (np.flatnonzero(label == one) for one in range(cell.classes))
    ])  # fmt: skip
    order = np.argsort(np.argsort(label, kind="stable"))
    fold = fold[order]
    new = np.arange(TRUE) % cell.classes
    fresh = groups(random, cell, centres, new)
    rows, true = [], np.zeros(cell.rows)
    for row in range(cell.rows):
        right = np.zeros(cell.images)
        for number in range(cell.folds):
            train, test = fold != number, fold == number
            classify = trained(random, features[row, train], label[train], cell.classes)
            right[test] = classify(features[row, test]) == label[test]
            true[row] += (classify(fresh[row]) == new).mean() / cell.folds
        numbers = np.arange(cell.folds)
        values = np.array([right[fold == number].mean() for number in numbers])
        rows.append(
            Runs(
                values, right[None], np.arange(cell.images), 1.0, step=cell.folds / cell.images,
                folds=Folds(numbers, cell.folds, fold),
            )
        )  # fmt: skip
    return rows, true


def with_first(rows: int) -> Values:
    """Return the differences of each further row to the first."""
    return np.hstack([-np.ones((rows - 1, 1)), np.eye(rows - 1)])


def product(rows: list[Runs]) -> Values:
    """Return which differences the product's rule shows."""
    return np.array([one.shown for one in compare(rows, with_first(len(rows)))])


def corrected(rows: list[Runs]) -> Values:
    """Return the same by the corrected resampled t test (Nadeau & Bengio 2003), Bonferroni."""
    sums = with_first(len(rows)) @ np.array([row.values for row in rows])
    folds = sums.shape[1]
    error = np.sqrt((1 / folds + 1 / (folds - 1)) * sums.var(1, ddof=1))
    return np.asarray(_p(sums.mean(1), error, folds - 1) * len(sums) < LEVEL)


def plain_t(rows: list[Runs]) -> Values:
    """Return the same by t tests paired by fold, Bonferroni."""
    sums = with_first(len(rows)) @ np.array([row.values for row in rows])
    error = np.sqrt(sums.var(1, ddof=1) / sums.shape[1])
    return np.asarray(_p(sums.mean(1), error, sums.shape[1] - 1) * len(sums) < LEVEL)


def by_images(rows: list[Runs]) -> Values:
    """Return the same by t tests paired by image, as if all answers were one run's, Bonferroni."""
    sums = with_first(len(rows)) @ np.concatenate(
        [row.scores for row in rows if row.scores is not None]
    )
    error = np.sqrt(sums.var(1, ddof=1) / sums.shape[1])
    return np.asarray(_p(sums.mean(1), error, sums.shape[1] - 1) * len(sums) < LEVEL)


def _p(mean: Values, error: Values, freedom: float) -> Values:
    return np.asarray(2 * stats.t.sf(np.abs(mean) / np.maximum(error, 1e-12), freedom))


RULES: dict[str, Callable[[list[Runs]], Values]] = {
    "this project": product,
    "corrected resampled t test": corrected,
    "t tests paired by fold": plain_t,
    "t tests paired by image": by_images,
}


def count(job: tuple[Cell, float, int, int]) -> dict[str, Any]:
    """Return how often each rule shows a difference, and whether intervals hold the truth.

    The job: a cell, what the second half of its rows has of the signal, tables, and a seed.
    """
    cell, signal, tables, seed = job
    random = np.random.default_rng(seed)
    weaker = np.where(np.arange(cell.rows) >= cell.rows / 2, signal, 1.0)
    shown = dict.fromkeys(RULES, 0.0)
    held, truths = 0, np.zeros(cell.rows)
    estimates = []
    for _ in range(tables):
        rows, true = table(random, cell, weaker)
        truths += true / tables
        estimates.append([estimate(row, METRIC) for row in rows])
        for name, rule in RULES.items():
            found = rule(rows)
            other = weaker[1:] < 1
            shown[name] += float(found[other].mean() if signal < 1 else found.any())
    for intervals in estimates:
        held += sum(
            one.low <= float(true) <= one.high
            for one, true in zip(intervals, truths, strict=True)
            if one.low is not None and one.high is not None
        )
    return {
        "cell": asdict(cell), "signal of half of the rows": signal, "tables": tables,
        "true accuracies": [round(float(one), 4) for one in (truths[0], truths[-1])],
        "shown": {name: round(number / tables, 4) for name, number in shown.items()},
        "intervals that hold the mean accuracy": round(held / (tables * cell.rows), 4),
    }  # fmt: skip


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=1000, help="of each kind")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    cells = [
        Cell(rows, folds, images, shared=shared)
        for rows, folds, images, shared in itertools.product(
            (2, 6), (3, 5, 10), (90, 300), (0.0, 0.9)
        )
    ]
    jobs = [(cell, 1.0, options.tables, number) for number, cell in enumerate(cells)]
    less = [(cell, 0.6, max(1, options.tables // 5), 1000 + n) for n, cell in enumerate(cells)]
    with ProcessPoolExecutor(options.processes) as pool:
        found = list(pool.map(count, [*jobs, *less]))
    equal, unequal = found[: len(jobs)], found[len(jobs) :]
    write_result(
        "verdicts_folds",
        {
            "tables of equal rows with a difference shown": {
                name: {
                    "mean": round(float(np.mean([one["shown"][name] for one in equal])), 4),
                    "most": max(one["shown"][name] for one in equal),
                }
                for name in RULES
            },
            "weaker rows shown": {
                name: round(float(np.mean([one["shown"][name] for one in unequal])), 4)
                for name in RULES
            },
            "equal": equal,
            "unequal": unequal,
        },
    )


if __name__ == "__main__":
    main()
