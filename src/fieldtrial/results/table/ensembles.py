"""The stored ensembles of a sweep's winners, as a line of its table."""

from pathlib import Path

from fieldtrial.fields.choices import TaskName
from fieldtrial.results.analysis.ensemble import FOLDER
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.read.sweeps import Sweeps
from fieldtrial.results.read.wording import counted
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
