"""The importance of hyperparameters: of functions whose answer is known."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from fieldtrial.results.analysis.importance import order_of, rank_hyperparameters

RANDOM = np.random.default_rng(0)


def numbers(
    name: str, values: "np.ndarray[tuple[int], np.dtype[np.float64]]", log: bool = False
) -> dict[str, object]:
    return {"name": name, "kind": "number", "log": log, "values": values.tolist()}


def test_what_the_metric_depends_on_comes_first() -> None:
    lr, dropout, model = (
        10 ** RANDOM.uniform(-4, -1, 60),
        RANDOM.uniform(0, 0.5, 60),
        RANDOM.integers(0, 2, 60),
    )
    models = {
        "name": "model",
        "kind": "category",
        "levels": ["cnn", "mlp"],
        "values": model.tolist(),
    }
    values = pd.Series(0.5 - 0.1 * np.log10(lr) + 0.05 * model)
    found = rank_hyperparameters(
        [numbers("dropout", dropout), models, numbers("lr", lr, log=True)], values
    )
    assert found.names == ["lr", "model", "dropout"]
    assert found.fanova[0] > 0.7
    assert sum(found.fanova) <= 1.001
    assert found.correlation[0] == pytest.approx(-0.95, abs=0.06)
    assert found.correlation[1] is None  # a model has no order
    assert found.note.startswith("From 60 search trials;")


@pytest.mark.parametrize(
    ("levels", "order"),
    [
        (["256", "32", "64", "128"], ["32", "64", "128", "256"]),  # such as filters=(32,)
        (["true", "false"], ["false", "true"]),
        (["all_but_last:10", "all_but_last:2"], ["all_but_last:2", "all_but_last:10"]),
        (["32,32", "16,16", "16,32"], ["16,16", "16,32", "32,32"]),
        (["0.9,0.999", "0.5,0.999"], ["0.5,0.999", "0.9,0.999"]),
        (["16,32", "32,16"], None),
        (["32", "16,16"], None),
        (["all_but_last:2", "first:2"], None),
        (["relu", "tanh"], None),
        (["none", "2"], None),
    ],
)
def test_what_has_an_order_has_a_rank_correlation(
    levels: list[str], order: list[str] | None
) -> None:
    found = order_of(levels)
    assert (None if found is None else sorted(found, key=lambda level: found[level])) == order
    chosen = RANDOM.integers(0, len(levels), 40)
    rank = [order.index(level) if order else 0 for level in levels]
    values = pd.Series([0.1 * rank[level] + place / 1e6 for place, level in enumerate(chosen)])
    column = {"name": "x", "kind": "category", "levels": levels, "values": chosen.tolist()}
    (correlation,) = rank_hyperparameters([column], values).correlation
    expected = spearmanr([rank[level] for level in chosen], values).statistic if order else None
    assert correlation == (None if expected is None else pytest.approx(expected, abs=1e-4))


def test_trials_without_a_hyperparameter_are_counted() -> None:
    known = numbers("lr", np.arange(30.0))
    gappy = numbers("momentum", np.arange(30.0)) | {"values": [None] * 4 + [0.5, 0.9] * 13}
    found = rank_hyperparameters([known, gappy], pd.Series(np.arange(30.0)))
    assert found.note.startswith("From 26 search trials;")
    assert found.note.endswith("Left out for a missing value: momentum of 4.")


def test_trials_without_a_value_are_left_out_and_many_are_drawn_from() -> None:
    lr = RANDOM.uniform(0, 1, 400)
    values = pd.Series(np.where(np.arange(400) < 100, np.nan, lr))
    found = rank_hyperparameters([numbers("lr", lr)], values)
    assert found.correlation == [1.0]
    assert found.note.startswith("From 300 search trials (fANOVA: 256 of them, drawn at random);")


@pytest.mark.parametrize("values", [[0.5] * 30, [0.1, 0.2, 0.3] + [np.nan] * 27])
def test_nothing_is_said_of_too_little(values: list[float]) -> None:
    found = rank_hyperparameters([numbers("lr", np.arange(30.0))], pd.Series(values))
    assert (found.names, found.fanova) == ([], [])
    assert "needs 10 trials that differ" in found.note


def test_a_report_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys; import fieldtrial.results.report.build; print({'torch', 'ray'} &"
        " set(sys.modules))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert outcome.stdout == "set()\n"
