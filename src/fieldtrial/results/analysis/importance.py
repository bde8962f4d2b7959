"""How much each hyperparameter matters: fANOVA (by Optuna) beside rank correlation."""

import itertools
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import create_trial
from scipy import stats

Column = dict[str, Any]  # a column of the report's data: name, kind and values
FEWEST_TRIALS = 10  # with fewer, a forest has nothing to split
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
NUMBERED = re.compile(rf"((?:\w+:)?)({NUMBER}(?:,{NUMBER})*)")  # 32, 16,32,64 or first:2
MOST_TRIALS = 256  # the cost grows with the square: a thousand trials take half a minute


@dataclass(frozen=True)
class Importance:
    """The hyperparameters `names`, the most important first.

    fanova: the share of the variance that each explains alone. correlation: Spearman's with the
    metric, None for values without an order: see `order_of`. note: what this is computed from, or
    why it is not.
    """

    names: list[str]
    fanova: list[float]
    correlation: list[float | None]
    note: str


def rank_hyperparameters(columns: Sequence[Column], values: "pd.Series[Any]") -> Importance:
    """Return the importance of the hyperparameters in `columns` for the metric `values`.

    fANOVA (Hutter, Hoos & Leyton-Brown 2014) splits the variance of a random forest's prediction
    over the space that was searched among the hyperparameters. It is computed from at most 256
    trials, drawn at random but always the same.
    """
    if not columns:
        return Importance([], [], [], "No hyperparameter differs between the trials.")
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    known = [np.array([value is not None for value in column["values"]]) for column in columns]
    there = np.isfinite(numbers)
    usable = np.flatnonzero(there & np.logical_and.reduce(known, axis=0))
    gaps = [
        f"{column['name']} of {int((there & ~has).sum())}"
        for column, has in zip(columns, known, strict=True)
        if (there & ~has).any()
    ]
    if len(usable) < FEWEST_TRIALS or len(set(numbers[usable])) == 1:
        return Importance(
            [],
            [],
            [],
            f"Importance needs {FEWEST_TRIALS} trials that differ; there are {len(usable)}.",
        )
    # Drawn at random, because trials are listed row after row.
    drawn = np.random.default_rng(0).permutation(len(usable))[:MOST_TRIALS]
    chosen = usable[np.sort(drawn)]
    importance = _fanova(columns, numbers, chosen)
    names = sorted(importance, key=lambda name: -importance[name])
    by_name = {column["name"]: column for column in columns}
    return Importance(
        names,
        [importance[name] for name in names],
        [_correlation(by_name[name], numbers, usable) for name in names],
        f"From {len(usable):,} search trials"
        + (
            f" (fANOVA: {len(chosen)} of them, drawn at random)"
            if len(chosen) < len(usable)
            else ""
        )
        + "; those stopped early count with their best epoch. What has no order has no rank"
        " correlation." + (f" Left out for a missing value: {', '.join(gaps)}." if gaps else ""),
    )


def _fanova(
    columns: Sequence[Column], numbers: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any]
) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    cells = {column["name"]: [_cell(column, trial) for trial in chosen] for column in columns}
    spaces = {column["name"]: _space(column, cells[column["name"]]) for column in columns}
    varying = {name: space for name, space in spaces.items() if space is not None}
    study = optuna.create_study()
    for place, trial in enumerate(chosen):
        values = {name: cells[name][place] for name in varying}
        study.add_trial(
            create_trial(params=values, distributions=varying, value=float(numbers[trial]))
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental interfaces
        found = FanovaImportanceEvaluator(seed=0).evaluate(study)
    return {name: float(found.get(name, 0.0)) for name in spaces}


def _cell(column: Column, trial: int) -> Any:
    value = column["values"][trial]
    return column["levels"][value] if column["kind"] == "category" else float(value)


def _space(column: Column, cells: list[Any]) -> BaseDistribution | None:
    """Return the range of the values in Optuna's terms, or None if all are the same."""
    if len(set(cells)) == 1:
        return None
    if column["kind"] == "category":
        return CategoricalDistribution(tuple(sorted(set(cells))))
    return FloatDistribution(min(cells), max(cells), log=column["log"] and min(cells) > 0)


def order_of(levels: Collection[str]) -> dict[str, int] | None:
    """Return the place of each of some texts in their order, None if they have none.

    Numbers have one, and lists of as many numbers if no two of them are larger in one place and
    smaller in another; false comes before true; and texts that differ in a last number alone, such
    as all_but_last:2 and all_but_last:5, are ordered by it.
    """
    if set(levels) <= {"false", "true"}:
        return {"false": 0, "true": 1}
    numbered = {level: NUMBERED.fullmatch(level) for level in levels}
    heads = {match[1] for match in numbered.values() if match}
    if len(heads) != 1 or not all(numbered.values()):
        return None
    vectors = {
        level: tuple(map(float, match[2].split(","))) for level, match in numbered.items() if match
    }
    ranked = sorted(vectors, key=lambda level: vectors[level])
    for lower, upper in itertools.pairwise(ranked):
        if len(vectors[lower]) != len(vectors[upper]):
            return None
        if any(low > high for low, high in zip(vectors[lower], vectors[upper], strict=True)):
            return None
    return {level: place for place, level in enumerate(ranked)}


def _correlation(
    column: Column, numbers: np.ndarray[Any, Any], usable: np.ndarray[Any, Any]
) -> float | None:
    cells = [_cell(column, trial) for trial in usable]
    if column["kind"] == "category":
        order = order_of(set(cells))
        cells = [order[cell] for cell in cells] if order else []
    if len(set(cells)) < 2:
        return None
    return round(float(stats.spearmanr(cells, numbers[usable]).statistic), 4)
