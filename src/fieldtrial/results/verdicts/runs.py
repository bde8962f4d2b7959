"""A row's finished runs -> what they scored, on each image where that is stored."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fieldtrial.disk.run import Run
from fieldtrial.fields.scores import is_share
from fieldtrial.fields.task_metrics import metric_of
from fieldtrial.results.read.answers import Answers, load_answers
from fieldtrial.results.verdicts.answer_scores import KINDS
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.folds import Folds, Values
from fieldtrial.results.verdicts.image_scores import SCORES

SPLIT = "test"  # all runs of a row are tested on the same images; validation is cut by the seed
TOLERANCE = 1e-3  # by which predictions may miss the value that the run's result has


@dataclass(frozen=True)
class FinalRun:
    """A finished run: its value of the metric, and the search whose winner it trained again.

    results: all its test results, which tell equal runs where no predictions are stored.
    images: how many it was tested on, if that is known.
    folds, fold: of how many folds it tested which; 0 without folds.
    """

    run: Run
    value: float
    search: int = 0
    results: Hashable = None
    images: int = 0
    folds: int = 0
    fold: int = 0


def runs_of(tested: Sequence[FinalRun], metric: str) -> tuple[Runs, str]:
    """Return what a row's runs scored, and why scores on images are missing, or nothing.

    If all runs gave the same answers, seeds change nothing, and they are one run. If the row was
    searched several times, the unit is a search: its winner's runs are averaged, because the luck
    of the search is common to them. With folds, the unit is a fold.
    """
    if tested[0].folds:
        return _over_folds(tested, metric)
    found, problem = _predictions(tested, metric)
    if found:
        identity: list[Hashable] = [_digest(one) for one in found]
    else:
        given = enumerate(tested)
        identity = [n if one.results is None else one.results for n, one in given]
    values: Values = np.array([one.value for one in tested])
    scores, images = None, None
    unit, step = _unit(found, metric), _step(tested, metric)
    if found:
        images = np.sort(found[0].index)
        scores = _moved(found, values, metric)
    searches = np.array([one.search for one in tested])
    has_searches = len(groups := np.unique(searches)) > 1
    if has_searches:
        pairs = list(zip(identity, searches, strict=True))
        identity = [frozenset(key for key, own in pairs if own == one) for one in groups]
        values = np.array([values[searches == one].mean() for one in groups])
        if scores is not None:
            scores = np.stack([scores[searches == one].mean(0) for one in groups])
    repeated = 0
    if len(identity) > 1 and len(set(identity)) == 1:
        repeated, values = len(identity) - 1, values[:1]
        scores = None if scores is None else scores[:1]
    return Runs(values, scores, images, unit, repeated, step, has_searches), problem


def _over_folds(tested: Sequence[FinalRun], metric: str) -> tuple[Runs, str]:
    """Return what a row scored in each fold, and why scores on images are missing, or nothing.

    Of several runs of a fold, with other seeds, the mean counts.
    """
    by_fold: dict[int, list[FinalRun]] = {}
    for one in tested:
        by_fold.setdefault(one.fold, []).append(one)
    numbers = np.array(sorted(by_fold), np.int64)
    each = [np.array([one.value for one in by_fold[number]]) for number in numbers.tolist()]
    folds = Folds(numbers, tested[0].folds)
    runs = Runs(
        np.array([own.mean() for own in each]),
        unit=_unit([], metric),
        step=_step(tested, metric),
        folds=folds,
    )
    images, scores = list[NDArray[np.int64]](), list[Values]()
    for number, values in zip(numbers.tolist(), each, strict=True):
        found, problem = _predictions(by_fold[number], metric)
        if not found:
            return runs, problem
        images.append(np.sort(found[0].index))
        scores.append(_moved(found, values, metric).mean(0))
    every = np.concatenate(images)
    if len(np.unique(every)) < len(every):
        return runs, f"{tested[0].run.name} and others of its row tested an image in two folds"
    order = np.argsort(every)
    of_image = np.repeat(np.arange(len(numbers)), [len(one) for one in images])[order]
    return replace(
        runs,
        unit=_unit(found, metric),
        scores=np.concatenate(scores)[None, order],
        images=every[order],
        folds=replace(folds, of_image=of_image),
    ), ""


def _unit(found: Sequence[Answers], metric: str) -> float:
    split, _, name = metric.partition("_")
    known = KINDS[type(found[0])] if found else SCORES if split == SPLIT else {}
    return known[name][1] if name in known else 0.0


def _step(tested: Sequence[FinalRun], metric: str) -> float:
    counted = min(one.images for one in tested)
    return 1 / counted if counted and is_share(metric) else 0.0


def _moved(found: Sequence[Answers], values: Values, metric: str) -> Values:
    """Return the scores of runs on the same images, (runs, images), with `values` as their means.

    The mean of pseudo-values is the metric without its bias: they are moved onto the value.
    """
    name = metric.partition("_")[2]
    scores: Values = np.stack([_scores(one, name) for one in found])
    scores += (values - scores.mean(1))[:, None]
    return scores


def _predictions(tested: Sequence[FinalRun], metric: str) -> tuple[list[Answers], str]:
    """Return the predictions of all runs; none, and why, where some are missing or do not fit."""
    split, _, name = metric.partition("_")
    known = metric_of(metric)
    if split != SPLIT or known is None:
        return [], ""
    found: list[Answers] = []
    for one in tested:
        try:
            made = load_answers(one.run)
        except FileNotFoundError:
            return [], f"{one.run.name} has stored no predictions"
        except (OSError, ValueError) as error:
            return [], str(error)
        if made is None or name not in KINDS[type(made)]:
            return [], f"an image has no {known.words} of its own"
        if abs(_value(made, name) - one.value) > TOLERANCE * max(1, abs(one.value)):
            return [], f"{one.run.name}: its predictions are not those of its result"
        found.append(made)
    images = [np.sort(made.index) for made in found]
    if any(not np.array_equal(one, images[0]) for one in images):
        return [], f"{tested[0].run.name} and others of its row were tested on different images"
    if len(images[0]) < 2:
        return [], f"{tested[0].run.name} was tested on a single image"
    return found, ""


def _value(made: Answers, name: str) -> float:
    """Return the metric itself."""
    if name == "loss":
        return float(_scores(made, name).mean())
    return made.summary()[name]


def _scores(made: Answers, name: str) -> Values:
    """Return the scores on the images in the order of their numbers, float64 (images,)."""
    return KINDS[type(made)][name][0](made.take(np.argsort(made.index)))


def _digest(made: Answers) -> bytes:
    """Return what is equal for equal answers to the same images."""
    answer = made.answer[np.argsort(made.index)]
    return hashlib.blake2b(np.ascontiguousarray(answer).data).digest()
