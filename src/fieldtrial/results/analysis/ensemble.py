"""Ensembles of runs that share a split: mean probability, and majority vote."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fieldtrial import metrics
from fieldtrial.disk.files import write_arrays
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.analysis.grouping import row_groups
from fieldtrial.results.analysis.winner import read_searches
from fieldtrial.results.read.predictions import StoredPredictions, load_predictions, logarithm
from fieldtrial.results.read.sweeps import read_sweep

FOLDER = "ensemble-"  # and a running number from 1: of an ensemble in a sweep's folder


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members and what they say together of the same images.

    mean: the mean of the members' probabilities.
    vote: the share of the members' votes for each class; a tie goes to the class that `mean`
    prefers.
    """

    runs: tuple[Run, ...]
    members: tuple[StoredPredictions, ...]
    mean: StoredPredictions
    vote: StoredPredictions

    def scores(self) -> dict[str, dict[str, float | None]]:
        """Return accuracy, macro_f1 and log_loss by member's path, and of `mean` and `vote`.

        A vote has no log_loss.
        """
        named = {str(run.path): made for run, made in zip(self.runs, self.members, strict=True)}
        return {
            name: {
                "accuracy": metrics.accuracy(made.label, made.log_probability),
                "macro_f1": metrics.macro_f1(made.label, made.log_probability),
                "log_loss": (
                    None if name == "vote" else metrics.log_loss(made.label, made.log_probability)
                ),
            }
            for name, made in {**named, "mean": self.mean, "vote": self.vote}.items()
        }

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
        write_arrays(
            run.predictions_path(split),
            index=self.mean.index,
            label=self.mean.label,
            log_probability=self.mean.log_probability,
        )
        scores = {f"{split}_{name}": value for name, value in self.mean.summary().items()}
        run.write_result(
            {
                "outcome": "finished",
                "members": [str(run.path) for run in self.runs],
                "class_names": list(self.mean.class_names),
                **scores,
                f"{split}_loss": metrics.log_loss(self.mean.label, self.mean.log_probability),
                "scores": self.scores(),
            }
        )


def combine(runs: Sequence[Run], split: str = "test") -> Ensemble:
    """Return the ensemble of `runs`, from the predictions for `split` that they have stored.

    Raises:
        FileNotFoundError: a run has stored none.
        ValueError: fewer than two runs, one of them twice, or two that do not share the split; the
            message names them and the difference.
    """
    if len(runs) < 2:
        raise ValueError("an ensemble needs two runs or more")
    places = [run.path.resolve() for run in runs]
    if twice := [
        str(run.path) for number, run in enumerate(runs) if places[number] in places[:number]
    ]:
        raise ValueError(f"given twice, which would count double: {', '.join(twice)}")
    members = tuple(load_predictions(run, split) for run in runs)
    for run, made in zip(runs[1:], members[1:], strict=True):
        if difference := _difference(runs[0], members[0], run, made):
            raise ValueError(
                f"{runs[0].path} and {run.path} do not share a {split} split: {difference}"
            )
    first = members[0]
    mean = replace(first, log_probability=mean_probability(members))
    votes = np.mean(
        [made.predicted[:, None] == np.arange(len(first.class_names)) for made in members], axis=0
    )
    # less than the weight of a vote, all together: it decides between equals alone
    vote = (votes + mean.probability / (2 * len(members))) / (1 + 1 / (2 * len(members)))
    return Ensemble(tuple(runs), members, mean, replace(first, log_probability=logarithm(vote)))


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


def _difference(
    run: Run, own: StoredPredictions, other: Run, theirs: StoredPredictions
) -> str | None:
    """Return in what the splits of two runs differ, or None."""
    pairs = {
        name: (getattr(run.config(), name), getattr(other.config(), name))
        for name in ("dataset", "classes")
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
    if not np.array_equal(own.label, theirs.label):
        return f"other labels of {(own.label != theirs.label).sum()} images"
    return None


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
