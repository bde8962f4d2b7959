"""Ensembles of runs that share a split: the mean of their answers, and the majority's vote."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from fieldtrial import metrics
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import is_share, score_text
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.results.analysis.grouping import row_groups
from fieldtrial.results.analysis.winner import read_searches
from fieldtrial.results.read.answers import Answers, StoredLabels, StoredNumbers, load_answers
from fieldtrial.results.read.predictions import StoredPredictions, logarithm
from fieldtrial.results.read.sweeps import read_sweep

Kind = TypeVar("Kind", StoredPredictions, StoredLabels, StoredNumbers)
HEADS = {"macro_f1": "macro F1 %"}  # of columns that are not called as elsewhere
FOLDER = "ensemble-"  # and a running number from 1: of an ensemble in a sweep's folder


@dataclass(frozen=True, eq=False)
class Ensemble(Generic[Kind]):
    """Members and what they say together of the same images.

    mean: the mean of the members' probabilities, or of their numbers.
    vote: the share of the members' votes for each class; a tie goes to the class that `mean`
    prefers. None where answers are no classes.
    """

    runs: tuple[Run, ...]
    members: tuple[Kind, ...]
    mean: Kind
    vote: Kind | None

    def scores(self) -> dict[str, dict[str, float | None]]:
        """Return metrics by member's path, and of `mean` and `vote`.

        Of classes these are accuracy, macro_f1 and log_loss, which a vote has not.
        """
        named = {str(run.path): made for run, made in zip(self.runs, self.members, strict=True)}
        together = {"mean": self.mean} | ({"vote": self.vote} if self.vote else {})
        score = MEANS[type(self.mean)].score
        found = {name: score(made) for name, made in {**named, **together}.items()}
        if "vote" in found:
            found["vote"]["log_loss"] = None
        return found

    def write(self, run: Run, split: str = "test") -> None:
        """Write the result and the predictions of `mean` into the directory of `run`.

        Raises:
            ValueError: a trial is there, whose result this would be written over.
        """
        with contextlib.suppress(FileNotFoundError):  # an ensemble has no config, a trial has one
            run.config()
            raise ValueError(
                f"{run.path} holds a trial, whose result would be lost: give the ensemble a folder"
                " of its own"
            )
        write_arrays(run.predictions_path(split), **self.mean.arrays())
        scores = {f"{split}_{name}": value for name, value in self.mean.summary().items()}
        run.write_result(
            {
                "outcome": "finished",
                "members": [str(run.path) for run in self.runs],
                "class_names": list(self.mean.class_names),
                **scores,
                f"{split}_loss": self.mean.loss(),
                "scores": self.scores(),
            }
        )


def combine(runs: Sequence[Run], split: str = "test") -> Ensemble[Any]:
    """Return the ensemble of `runs`, from the predictions for `split` that they have stored.

    Raises:
        FileNotFoundError: a run has stored none.
        ValueError: fewer than two runs, one of them twice, answers that have no mean, or two that
            do not share the split; the message names them and the difference.
    """
    if len(runs) < 2:
        raise ValueError("an ensemble needs two runs or more")
    places = [run.path.resolve() for run in runs]
    if twice := [
        str(run.path) for number, run in enumerate(runs) if places[number] in places[:number]
    ]:
        raise ValueError(f"given twice, which would count double: {', '.join(twice)}")
    members = tuple(_answers(run, split) for run in runs)
    for run, made in zip(runs[1:], members[1:], strict=True):
        if difference := _difference(runs[0], members[0], run, made):
            raise ValueError(
                f"{runs[0].path} and {run.path} do not share a {split} split: {difference}"
            )
    kind = MEANS[type(members[0])]
    mean = kind.mean(members)
    return Ensemble(tuple(runs), members, mean, kind.vote(members, mean) if kind.vote else None)


def _answers(run: Run, split: str) -> Answers:
    made = load_answers(run, split)
    if made is None:
        task = run.config().task
        raise ValueError(f"{run.path}: its answers have no mean: task = {task}")
    return made


def _mean_of_classes(members: Sequence[StoredPredictions]) -> StoredPredictions:
    return replace(members[0], log_probability=mean_probability(members))


def _vote(members: Sequence[StoredPredictions], mean: StoredPredictions) -> StoredPredictions:
    classes = np.arange(len(mean.class_names))
    votes = np.mean([made.predicted[:, None] == classes for made in members], axis=0)
    # less than the weight of a vote, all together: it decides between equals alone
    vote = (votes + mean.probability / (2 * len(members))) / (1 + 1 / (2 * len(members)))
    return replace(mean, log_probability=logarithm(vote))


def _mean_of_labels(members: Sequence[StoredLabels]) -> StoredLabels:
    """Return the log odds of the mean of the probabilities, computed in logarithms."""
    logits = np.stack([made.logit.astype(np.float64) for made in members])
    there, absent = (np.logaddexp.reduce(-np.logaddexp(0, sign * logits), 0) for sign in (-1, 1))
    return replace(members[0], logit=(there - absent).astype(np.float32))


def _mean_of_numbers(members: Sequence[StoredNumbers]) -> StoredNumbers:
    value = np.mean([made.value for made in members], axis=0)
    deviation = float(np.mean([made.deviation for made in members]))
    return replace(members[0], value=value, deviation=deviation)


def _class_scores(made: StoredPredictions) -> dict[str, float | None]:
    own = (made.label, made.log_probability)
    scores = {"accuracy": metrics.accuracy(*own), "macro_f1": metrics.macro_f1(*own)}
    return {**scores, "log_loss": metrics.log_loss(*own)}


def _summary(made: StoredLabels | StoredNumbers) -> dict[str, float | None]:
    return {**made.summary()}


@dataclass(frozen=True)
class _Means:
    """What an ensemble of one kind of answers is: its mean, its scores, and a vote, if any."""

    mean: Callable[[Any], Any]
    score: Callable[[Any], dict[str, float | None]]
    vote: Callable[[Any, Any], Any] | None = None


MEANS: dict[type[Any], _Means] = {
    StoredPredictions: _Means(_mean_of_classes, _class_scores, _vote),
    StoredLabels: _Means(_mean_of_labels, _summary),
    StoredNumbers: _Means(_mean_of_numbers, _summary),
}


def mean_probability(members: Sequence[StoredPredictions]) -> NDArray[np.float32]:
    """Return the logarithms of the mean of the members' probabilities, (n, classes).

    They are computed in float64.
    """
    shape = members[0].log_probability.shape
    high, low = np.zeros(shape), np.full(shape, -np.inf)
    for made in members:
        own = made.log_probability.astype(np.float64)
        high = high + np.expm1(own) / len(members)
        low = np.logaddexp(low, own - math.log(len(members)))
    # Near 1, what is missing to 1 is averaged: the logarithms there differ by less than the
    # last digit of a probability.
    mean = np.where(low < math.log(0.5), low, np.log1p(np.maximum(high, -0.75)))
    return mean.astype(np.float32)


def _difference(run: Run, own: Answers, other: Run, theirs: Answers) -> str | None:
    """Return in what the splits of two runs differ, or None."""
    pairs = {
        name: (getattr(run.config(), name), getattr(other.config(), name))
        for name in ("task", "dataset", "classes", "target")
    }
    states = [(one.result() or {}).get("data_digest") for one in (run, other)]
    if None not in states:  # earlier versions recorded none
        pairs["digest of the data"] = (states[0], states[1])
    pairs["class names"] = (", ".join(own.class_names), ", ".join(theirs.class_names))
    pairs["number of images"] = (len(own.index), len(theirs.index))
    for name, (mine, its) in pairs.items():
        if mine != its:
            return f"{name} {mine!r} against {its!r}"
    if not np.array_equal(own.index, theirs.index):
        place = int(np.flatnonzero(own.index != theirs.index)[0])
        return (
            f"other images, first in place {place}: {own.index[place]} against"
            f" {theirs.index[place]}"
        )
    mine_wanted, its_wanted = (
        np.reshape(one.wanted, (len(one.index), -1)) for one in (own, theirs)
    )
    if not np.array_equal(mine_wanted, its_wanted):
        return f"other labels of {counted(int((mine_wanted != its_wanted).any(1).sum()), 'image')}"
    return None


def lines(scores: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return a table of what `Ensemble.scores` returns: a line for its head, and one for each."""
    names = list(next(iter(scores.values())))
    heads = [
        HEADS.get(name) or metric_words(name) + (" %" if is_share(name) else "") for name in names
    ]
    found = ["  ".join(["", *heads])]
    for member, own in scores.items():
        texts = ["–" if own[name] is None else score_text(name, own[name] or 0) for name in names]
        cells = [f"{text:>{len(head)}}" for text, head in zip(texts, heads, strict=True)]
        found.append("  ".join(["", *cells, member]))
    return found


def winners(folder: SweepFolder) -> list[list[Run]]:
    """Return, for each fresh seed of the sweep in `folder`, the tested run of each row's winner.

    Raises:
        ValueError: it is not a sweep's folder, a row has no tested run of its winner yet, or
            no seed was tested in every row.
    """
    sweeps = read_sweep(folder)
    tested = [
        {int(seed): folder.run(name) for seed, name in group.finals[["seed", "trial"]].to_numpy()}
        for group in row_groups(sweeps, read_searches(sweeps))
    ]
    if lacking := [str(number) for number, runs in enumerate(tested) if not runs]:
        raise ValueError(
            f"{folder.path}: no tested run of the winner of row {', '.join(lacking)}: end the sweep"
            " first"
        )
    common = set.intersection(*map(set, tested))
    if not common:
        raise ValueError(f"{folder.path}: the rows' tested runs have no seed in common")
    return [[runs[seed] for runs in tested] for seed in sorted(common)]
