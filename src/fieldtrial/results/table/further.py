"""Measures of groups from records and predictions: of the kept epoch's training, F1 by class."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from fieldtrial.fields.task_metrics import OF_EACH
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.analysis.quantities import (
    Measure,
    Place,
    by_place,
    mean_by_place,
    shown_runs,
)
from fieldtrial.results.read.answers import load_answers
from fieldtrial.results.read.sweeps import SWEEP, Sweeps

OF_TRAINING = ("train_loss", "train_accuracy")
OF_CLASSES = {"class_f1": "_f1", "class_ap": "_ap"}  # what is known of every class, by its ending
MOST_CLASSES = 200


def kept_epochs(trials: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Return what the trials' kept epochs recorded of training: the columns OF_TRAINING that there
    are, by sweep and trial.

    An epoch's training loss and accuracy are of its batches as they were trained on: augmented,
    with dropout, and before the weights that the epoch ended with.
    """
    names = [name for name in OF_TRAINING if name in records and records[name].notna().any()]
    where = [SWEEP, "trial", "best_epoch"]
    if not names or "best_epoch" not in trials:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []]))
    known = trials[where].dropna().drop_duplicates().astype({"trial": str, "best_epoch": int})
    recorded = records[[SWEEP, "trial", "epoch", *names]].astype({"trial": str})
    recorded = recorded.rename(columns={"epoch": "best_epoch"})  # which records have, too
    return known.merge(recorded, on=where).set_index([SWEEP, "trial"])[names]


def training_measures(sweeps: Sweeps, records: pd.DataFrame) -> dict[str, Measure]:
    """Return the means of what the kept epochs recorded of training, where they did."""
    kept = kept_epochs(sweeps.trials, records)

    @functools.cache
    def kept_of(name: str) -> dict[Place, float]:
        return by_place(kept[name])

    def mean(name: str) -> Measure:
        return lambda group: mean_by_place(group, kept_of(name))

    return {name: mean(name) for name in OF_TRAINING if name in kept}


def class_measures(sweeps: Sweeps) -> dict[str, Measure]:
    """Return the mean F1 on test of each class, CLASS_f1, as far as predictions are stored.

    Of labels, their average precision too, CLASS_ap.
    """
    if "class_names" not in sweeps.trials:
        return {}
    tasks = sweeps.trials["task"].dropna().unique()
    known = list(dict.fromkeys(what for task in tasks for what in OF_EACH.get(task, ())))
    lists = sweeps.trials["class_names"].dropna()
    names = list(dict.fromkeys(str(name) for names in lists for name in names))

    @functools.cache
    def scores(places: tuple[tuple[str, str], ...]) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for sweep, trial in places:
            try:
                made = load_answers(sweeps.folders[sweep].run(trial))
            except (OSError, ValueError):  # removed, damaged, or of before they were stored
                continue
            if made is None:
                continue
            for what, scored in made.by_class().items():
                for name, score in zip(made.class_names, scored.tolist(), strict=True):
                    if math.isfinite(score):
                        found.setdefault(f"{name}_{what}", []).append(score)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def mean(name: str) -> Measure:
        def of_group(group: Group) -> float | None:
            runs = shown_runs(group)
            return scores(tuple(zip(runs[SWEEP], runs["trial"], strict=True))).get(name)

        return of_group

    every = [f"{name}_{what}" for what in known for name in names[:MOST_CLASSES]]
    return {name: mean(name) for name in every}


def spelled_out(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the names of measures, with those of all classes in the place of OF_CLASSES."""
    spelled = {
        name: [one for one in classes if one.endswith(ending)]
        for name, ending in OF_CLASSES.items()
    }
    return [one for name in names for one in spelled.get(name, [name])]
