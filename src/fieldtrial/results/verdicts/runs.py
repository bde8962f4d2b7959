"""A row's finished runs -> what its distinct runs scored, on each image where that is stored."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from fieldtrial.disk.run import Run
from fieldtrial.results.read.predictions import StoredPredictions, load_predictions
from fieldtrial.results.read.wording import is_share
from fieldtrial.results.verdicts.crossed import Runs, Values
from fieldtrial.results.verdicts.image_scores import SCORES

SPLIT = "test"  # all runs of a row are tested on the same images; validation is cut by the seed
TOLERANCE = 1e-3  # by which predictions may miss the value that the run's result has


@dataclass(frozen=True)
class FinalRun:
    """A finished run: its value of the metric, and the search whose winner it trained again.

    results: all its test results, which tell equal runs where no predictions are stored.
    images: how many it was tested on, if that is known.
    """

    run: Run
    value: float
    search: int = 0
    results: Hashable = None
    images: int = 0


def runs_of(tested: Sequence[FinalRun], metric: str) -> tuple[Runs, str]:
    """Return what the distinct runs of a row scored, and why scores on images are missing, or "".

    Runs with the same answers are one run. If the row was searched several times, the unit is a
    search: its winner's runs are averaged, because their mean varies with the luck of the search
    too.
    """
    found, problem = _predictions(tested, metric)
    if found:
        identity: list[Hashable] = [_digest(one) for one in found]
    else:
        identity = [one.results if one.results is not None else number
                    for number, one in enumerate(tested)]  # fmt: skip
    kept = list({key: number for number, key in reversed(list(enumerate(identity)))}.values())
    kept.sort()
    values: Values = np.array([tested[number].value for number in kept])
    scores, images = None, None
    split, _, name = metric.partition("_")
    unit = SCORES[name][1] if split == SPLIT and name in SCORES else 0.0
    counted = min(one.images for one in tested)
    step = 1 / counted if counted and is_share(metric) else 0.0
    if found:
        order = np.argsort(found[0].index)
        images = found[0].index[order]
        scores = np.stack([_scores(found[number], name) for number in kept])
    searches = [tested[number].search for number in kept]
    if len(groups := list(dict.fromkeys(one.search for one in tested))) > 1:
        values = _averaged(values, searches, groups)
        scores = None if scores is None else _averaged(scores, searches, groups)
        return Runs(values, scores, images, unit, step=step, of_searches=True), problem
    return Runs(values, scores, images, unit, len(tested) - len(kept), step), problem


def _averaged(array: Values, searches: list[int], groups: list[int]) -> Values:
    """Return the mean over the runs of each search."""
    places = np.array(searches)
    return np.stack([array[places == group].mean(0) for group in groups])


def _predictions(tested: Sequence[FinalRun], metric: str) -> tuple[list[StoredPredictions], str]:
    """Return the predictions of all runs; none, and why, where some are missing or do not fit."""
    split, _, name = metric.partition("_")
    if split != SPLIT or name not in SCORES:
        return [], ""
    found: list[StoredPredictions] = []
    for one in tested:
        try:
            made = load_predictions(one.run)
        except FileNotFoundError:
            return [], f"{one.run.name} has stored no predictions"
        except (OSError, ValueError) as error:
            return [], str(error)
        if abs(float(_scores(made, name).mean()) - one.value) > TOLERANCE * max(1, abs(one.value)):
            return [], f"{one.run.name}: its predictions are not those of its result"
        found.append(made)
    images = [np.sort(made.index) for made in found]
    if any(not np.array_equal(one, images[0]) for one in images):
        return [], f"{tested[0].run.name} and others of its row were tested on different images"
    return found, ""


def _scores(made: StoredPredictions, name: str) -> Values:
    """Return the scores on the images in the order of their numbers, float64 (images,)."""
    order = np.argsort(made.index)
    return SCORES[name][0](made.label[order], made.probability[order])


def _digest(made: StoredPredictions) -> bytes:
    """Return what is equal for equal answers to the same images."""
    order = np.argsort(made.index)
    return hashlib.blake2b(np.ascontiguousarray(made.probability[order]).data).digest()
