"""What a command line changes of a sweep's file: fields of its base, and which rows are run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fieldtrial.budget import FIRST_SEEDS
from fieldtrial.config import HINTS, ConfigError, TrainConfig, is_field, unknown_field
from fieldtrial.fields.options import typed
from fieldtrial.fields.row_names import LABEL
from fieldtrial.fields.task_metrics import criteria
from fieldtrial.fields.values import format_value, parse
from fieldtrial.sweep import OF_BASE, PlannedRow, Sweep

FOLDS = ("folds", "fold")


def with_settings(sweep: Sweep, settings: Mapping[str, object]) -> Sweep:
    """Return the sweep with fields of its base replaced. A metric as `select` is the sweep's, too.

    Raises:
        ConfigError: a field that the rows or the search decide, or a bad value.
    """
    in_rows = [name for name in settings if name in sweep.compared]
    problems = [f"{name}: {_change_rows(sweep, name, settings[name])}" for name in in_rows]
    problems += [
        f"{name}: the search decides it, so it cannot be set; change `search` in the sweep's file"
        for name in settings
        if name in sweep.search
    ]
    problems += [
        f"{name}: cannot be set; --folds N cuts into folds, and each of them is tested"
        for name in settings
        if name in FOLDS
    ]
    refused = {*in_rows, *sweep.search, *FOLDS}
    free = {name: value for name, value in settings.items() if name not in refused}
    try:
        base = TrainConfig.from_dict(free, sweep.base)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems, where="--set")
    choices = criteria(base.task)
    is_other = settings.get("select") in choices or sweep.select not in choices
    return replace(sweep, base=base, select=OF_BASE if is_other else sweep.select)


def in_folds(sweep: Sweep, folds: int) -> dict[str, Any]:
    """Return what to replace in the sweep, so that its images are cut into so many folds, or none.

    It has as many seeds as a sweep has by default. Raises ConfigError if there cannot be so many.
    """
    base = replace(sweep.base, folds=folds, fold=0)
    return {"base": base, "folds": folds, "seeds": FIRST_SEEDS}


def with_rows(sweep: Sweep, texts: Sequence[str]) -> Sweep:
    """Return the sweep, of which only the rows with the values in `texts` are run.

    texts: like model=resnet18. Of several for a field, a row has one; it has one of each field.
    Without any, all rows are run.

    Raises:
        ConfigError: unknown fields, impossible values, or no row has them; all problems at once.
    """
    wanted: dict[str, list[str]] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError("must be FIELD=VALUE")
            if name == LABEL:
                wanted.setdefault(name, []).append(value)
                continue
            if not is_field(name):
                raise ValueError(unknown_field(name))
            if name in sweep.search:
                raise ValueError(f"{name} is searched in every row, so no row is chosen by it")
            parsed = parse(value, HINTS[name]) if name in HINTS else typed(value, None)
            wanted.setdefault(name, []).append(format_value(parsed))
        except ValueError as error:
            problems.append(f"{text}: {error}")
    for name, values in wanted.items():
        there = dict.fromkeys(_value(row, name) for row in sweep.planned)
        problems += [
            f"{name}={value}: no row has it; there are: {', '.join(there)}"
            for value in values
            if value not in there
        ]
    chosen = {
        row.number
        for row in sweep.planned
        if all(_value(row, name) in own for name, own in wanted.items())
    }
    if not problems and not chosen:
        problems = [f"{' '.join(texts)}: no row has all of these"]
    if problems:
        raise ConfigError(problems, where="--rows")
    return replace(sweep, run_only=frozenset(chosen)) if texts else sweep


def _value(row: PlannedRow, name: str) -> str:
    """Return a row's short name, or its value of a field as a text of a command line."""
    return row.label if name == LABEL else format_value(getattr(row.config, name))


def _change_rows(sweep: Sweep, name: str, value: object) -> str:
    """Return how to change a field that rows set, or to run some of the rows."""
    there = dict.fromkeys(format_value(row[name]) for row in sweep.rows if name in row)
    asked = format_value(value)
    run_some = f"--rows '{name}={asked if asked in there else next(iter(there))}'"
    return (
        f"rows set it ({', '.join(there)}), so it cannot be set for all; change the sweep's rows,"
        f" such as grid({name}=[...]), in its file and give another --name, or run some rows with"
        f" {run_some}"
    )
