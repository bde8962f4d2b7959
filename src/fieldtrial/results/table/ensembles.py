"""The stored ensembles of a sweep's winners: a line of its table, and what the command prints."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldtrial.disk.run import Run
from fieldtrial.fields.choices import TaskName
from fieldtrial.fields.printable import counted
from fieldtrial.fields.scores import score_text, score_with_unit
from fieldtrial.fields.task_metrics import metric_words
from fieldtrial.results.analysis.ensemble import FOLDER, Ensemble
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.read.sweeps import Sweeps
from fieldtrial.results.verdicts.estimates import estimate
from fieldtrial.results.verdicts.runs import FinalRun, runs_of

AVERAGED: dict[TaskName, str] = {"regression": "number"}  # else probabilities


def stored_ensemble(sweeps: Sweeps, groups: Groups) -> tuple[Group | None, list[str]]:
    """Return the ensembles of the only sweep as one group, and lines on it; None if there is none.

    Each is of the rows' winners with one fresh seed. Those that are not of the present final runs
    or not of all rows are left out. An ensemble is compared with nothing: it is made of the rows.
    """
    (folder,) = sweeps.folders.values()
    finals = {trial for group in groups.groups for trial in group.finals["trial"]}
    found, members, old = list[FinalRun](), 0, 0
    for name in folder.folders():
        if not name.startswith(FOLDER):
            continue
        run = folder.run(name)
        try:
            result = run.result() or {}
        except (OSError, ValueError):  # no ensemble, or a damaged one
            continue
        own, value = result.get("members"), result.get(groups.metric)
        if not isinstance(own, list) or not isinstance(value, int | float):
            continue
        names = {Path(str(one)).name for one in own}
        if len(own) == len(groups.groups) and names <= finals:  # rows may have been added since
            config = folder.run(sorted(names)[0]).config()  # all members have one fold
            found.append(FinalRun(run, float(value), folds=config.folds, fold=config.fold))
            members = len(own)
        else:
            old += 1
    lines = []
    if old:
        lines.append(
            f"{counted(old, 'ensemble')} left out: not of the present final runs;"
            f" fieldtrial ensemble --sweep {folder.path} makes them again."
        )
    if not found:
        return None, lines
    scored, _ = runs_of(found, groups.metric)
    nothing = sweeps.trials.iloc[:0]
    number, key = len(groups.groups), tuple("" for _ in groups.fields)
    interval = estimate(scored, groups.metric)
    averaged = AVERAGED.get(sweeps.only.base.task, "probability")
    lines.append(
        f"Ensemble: the mean {averaged} of the {members} rows' winners with the same seed. It is"
        " compared with no row, because it is made of them."
    )
    return Group(number, key, nothing, None, nothing, nothing, {}, (), interval=interval), lines


def means(runs: Sequence[Run], made: Sequence[Ensemble[Any]]) -> list[str]:
    """Return the means over several ensembles, in lines: of `mean` and, where there is one, of
    `vote`. They are of the first of their scores: accuracy, mAP or MAE.

    The interval of `mean` is as a table has it, for new seeds and for new images. A vote has none,
    because its answers are not stored.

    runs: where the ensembles are stored.
    """
    every, config = [one.scores() for one in made], made[0].runs[0].config()
    metric = next(iter(every[0]["mean"]))
    folds = [one.runs[0].config().fold for one in made]
    found = [
        FinalRun(run, float(scores["mean"][metric] or 0), folds=config.folds, fold=fold)
        for run, scores, fold in zip(runs, every, folds, strict=True)
    ]
    interval = estimate(runs_of(found, f"test_{metric}")[0], f"test_{metric}")
    halves = {"folds" if config.folds else "seeds": interval.seeds, "images": interval.images}
    ends = "".join(
        f" ± {score_text(metric, half)} for new {name}"
        for name, half in halves.items()
        if half is not None
    )
    alike = f", {interval.repeated + 1} identical" if interval.repeated else ""
    few = "" if ends else ", too few for an interval"
    text = f"{metric_words(metric)} {score_with_unit(metric, interval.mean)}"
    lines = [f"mean: {text}{ends} (n={interval.runs}{alike}{few})"]
    if "vote" in every[0]:
        mean = statistics.fmean(float(one["vote"][metric] or 0) for one in every)
        text = f"{metric_words(metric)} {score_with_unit(metric, mean)}"
        lines.append(f"vote: {text} (n={len(every)}, no interval)")
    return lines
