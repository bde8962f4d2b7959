"""Runs of no sweep, such as those of fieldtrial train and slurm/finetune.sh, as rows of a table.

A row has one configuration. Its runs with several seeds or folds are its repetitions.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from fieldtrial.config import FIELDS, TrainConfig, field_names
from fieldtrial.disk.found import RunsFolder
from fieldtrial.disk.sweep_description import MOST_ROWS, SweepDescription
from fieldtrial.fields.choices import Criterion, TaskName
from fieldtrial.fields.identity import REPEATED
from fieldtrial.fields.printable import counted
from fieldtrial.fields.task_metrics import MODES, criteria
from fieldtrial.fields.values import is_writable
from fieldtrial.own.names import is_option, kind_of
from fieldtrial.results.read.inputs import STATE, each_once
from fieldtrial.results.read.trials import ENDED_WELL, RUN, frame_of, read_run
from fieldtrial.results.read.wording import few

MOST_NAMED = 5  # runs in a line
Read = tuple[SweepDescription, pd.DataFrame, list[str]]


def read_runs(folder: RunsFolder, select: Criterion | None) -> Read:
    """Return the runs as a sweep without a search: what it is, its trials, and what is left out.

    select: what rows are ranked by on validation; None for what most of the runs were trained with.
    The trials are as `load` has them, with the role run. Of runs with the same fields and seed, and
    of no two known states of data and weights, one counts: see `each_once`.

    Raises:
        ValueError: there are more configurations than a table has rows.
    """
    names = sorted(filter(is_writable, folder.folders()), key=_natural)
    known = {name: read_run(folder.run(name)) for name in names}
    readable = {name: one for name, one in known.items() if "configuration" in one}
    lines = []
    if unreadable := {name: one for name, one in known.items() if name not in readable}:
        first = next(iter(unreadable))
        more = _named(list(unreadable)[1:])
        lines.append(
            f"{counted(len(unreadable), 'run')} left out: unreadable, such as {first}:"
            f" {unreadable[first]['error_message']}{more}"
        )
    if strange := len(folder.folders()) - len(names):
        lines.append(f"{counted(strange, 'run')} left out: with a name that is no UTF-8.")
    readable, apart = of_one_task(readable, select)
    lines += apart
    kept = each_once(
        [(one["configuration"], *(one[name] for name in REPEATED)) for one in readable.values()],
        pd.DataFrame([{name: one.get(name) for name in STATE} for one in readable.values()]),
        [one["outcome"] in ENDED_WELL for one in readable.values()],
    )
    every = list(readable)
    taken = [every[place] for place in kept]
    once = set(taken)
    if copies := [name for name in readable if name not in once]:
        lines.append(
            f"{counted(len(copies), 'run')} left out: the same fields and seed as another, which"
            f" counts once: {copies[0]}{_named(copies[1:])}."
        )
    order = dict.fromkeys(one["configuration"] for one in readable.values())
    rows = {one: number for number, one in enumerate(order)}
    if len(rows) > MOST_ROWS:
        raise ValueError(
            f"{folder.path}: runs of {len(rows):,} configurations; a table has at most"
            f" {MOST_ROWS:,} rows. Name folders with fewer"
        )
    frame = frame_of(
        [
            {
                **{"trial": name, "row": rows[readable[name]["configuration"]], "search": 0},
                **{"role": RUN, "winner": False, **readable[name]},
            }
            for name in taken
        ]
    )
    return _describe(folder, [readable[name] for name in taken], select), frame, lines


def of_one_task(
    runs: dict[str, dict[str, Any]], select: Criterion | None
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the runs of the task that most have, and a line on others, which have other metrics.

    select: what rows are ranked by, where it is known: only tasks that have it count.
    """
    tasks: Counter[TaskName] = Counter(
        one["task"] for one in runs.values() if not select or select in criteria(one["task"])
    )
    chosen = tasks.most_common(1)[0][0] if tasks else None
    others = [name for name, one in runs.items() if one["task"] != chosen]
    if not others:
        return runs, []
    line = (
        f"{counted(len(others), 'run')} left out: of a task with other metrics, such as"
        f" {others[0]} ({runs[others[0]]['task']}){_named(others[1:])}."
    )
    return {name: one for name, one in runs.items() if one["task"] == chosen}, [line]


def _describe(
    folder: RunsFolder, runs: Sequence[dict[str, Any]], select: Criterion | None
) -> SweepDescription:
    """Return the description of a sweep with a row for each configuration, in their order."""
    first = {one["configuration"]: one for one in reversed(runs)}
    order = dict.fromkeys(one["configuration"] for one in runs)
    configs = [_config(first[one]) for one in order]
    differing = [
        name
        for name in field_names(configs)
        if name not in REPEATED and len({getattr(config, name) for config in configs}) > 1
    ]
    most = Counter(one["select"] for one in runs if one["select"] in MODES).most_common(1)
    first_config = configs[0] if configs else TrainConfig()
    shared = {
        name: value
        for name, value in first_config.options.items()
        if name not in differing and kind_of(name) not in differing
    }
    base = replace(first_config, options=shared)
    return SweepDescription(
        name=folder.name,
        base=base,
        rows=tuple(
            {name: getattr(config, name) for name in differing if name in FIELDS}
            | {name: value for name, value in config.options.items() if name not in shared}
            for config in configs
        ),
        search={},
        select=select or (most[0][0] if most else criteria(base.task)[0]),
        trials=1,
        seeds=0,
        folds=base.folds,
    )


def _config(run: dict[str, Any]) -> TrainConfig:
    """Return the config of a run, of which `read_run` tells all fields and options."""
    options = {name: value for name, value in run.items() if is_option(name)}
    return TrainConfig(**{name: run[name] for name in FIELDS}, options=options)


def _named(names: Sequence[str]) -> str:
    return few([f"; {name}" for name in names], MOST_NAMED, between="")


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that puts run2 before run10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
