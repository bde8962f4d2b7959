"""What a command line changes of a sweep: fields of its base, and which rows are run."""

from dataclasses import replace
from pathlib import Path

import pytest
from ray import tune

from fieldtrial.config import ConfigError, TrainConfig
from fieldtrial.control.changes import with_rows, with_settings
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep, grid
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep, run_sweep

SWEEP = Sweep(
    base=TrainConfig(epochs=2),
    rows=grid(model=["cnn", "mlp"], optimizer=["sgd", "adamw"]),
    search={"lr": tune.uniform(0.1, 0.2)},
)


def test_settings_change_the_base_of_every_row_and_no_row() -> None:
    planned = with_settings(SWEEP, {"epochs": "7"}).planned
    assert [row.config.epochs for row in planned] == [7, 7, 7, 7]
    with pytest.raises(ConfigError) as caught:
        with_settings(SWEEP, {"model": "mlp", "lr": "0.1"})
    assert caught.value.problems == [
        "model: rows set it (cnn, mlp), so it cannot be set for all; change the sweep's rows, such"
        " as grid(model=[...]), in its file and give another --name, or run some rows with --rows"
        " 'model=mlp'",
        "lr: the search decides it, so it cannot be set; change `search` in the sweep's file",
    ]
    with pytest.raises(
        ConfigError,
        match=r"--set: unknown field 'x'.*\n--set: epochs = '1.5': must be a whole number",
    ):
        with_settings(SWEEP, {"epochs": "1.5", "x": "1"})


def test_what_selects_can_be_set() -> None:
    sweep = with_settings(SWEEP, {"select": "validation_loss"})
    assert (sweep.select, sweep.base.select) == ("validation_loss", "validation_loss")
    last = with_settings(sweep, {"select": "last"})
    assert (last.select, last.base.select) == ("validation_loss", "last")
    labels = with_settings(SWEEP, {"task": "multilabel"})
    assert (labels.select, labels.base.select) == ("validation_map", "validation_map")
    f1 = with_settings(SWEEP, {"task": "multilabel", "select": "validation_macro_f1"})
    assert (f1.select, f1.base.select) == ("validation_macro_f1", "validation_macro_f1")
    with pytest.raises(ConfigError, match="--set: select = 'validation_mae': must be one of"):
        with_settings(SWEEP, {"select": "validation_mae"})


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        ([], {0, 1, 2, 3}),
        (["model=mlp"], {2, 3}),
        (["model=mlp", "model=cnn", "optimizer=sgd"], {0, 2}),
        (["epochs=2"], {0, 1, 2, 3}),  # the base's value is a row's too
        (["label=cnn · adamw", "label=mlp · sgd"], {1, 2}),
    ],
)
def test_rows_are_chosen_by_their_values(texts: list[str], rows: set[int]) -> None:
    sweep = with_rows(SWEEP, texts)
    assert {row.number for row in sweep.planned if sweep.is_run(row.number)} == rows
    assert sweep.describe("x").digest == SWEEP.describe("x").digest  # the same sweep


def test_rows_that_are_not_there_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        with_rows(SWEEP, ["modle=mlp", "model", "model=resnet18", "lr=0.1"])
    assert caught.value.problems == [
        "modle=mlp: unknown field 'modle'; did you mean 'model'?",
        "model: must be FIELD=VALUE",
        "lr=0.1: lr is searched in every row, so no row is chosen by it",
        "model=resnet18: no row has it; there are: cnn, mlp",
    ]
    with pytest.raises(ConfigError, match=r"run_only = \{4\}: must be numbers from 0 to 3"):
        replace(SWEEP, run_only=frozenset({4}))
    two = Sweep(base=TrainConfig(), rows=[{"model": "mlp"}, {"optimizer": "sgd"}])
    with pytest.raises(ConfigError, match="no row has all of these"):
        with_rows(two, ["model=mlp", "optimizer=sgd"])


def test_some_rows_run_alone_and_the_others_later(tmp_path: Path) -> None:
    sweep = make_sweep(rows=[{"optimizer": "sgd"}, {"optimizer": "adam"}], seeds=2, trials=2)
    folder, scripts = SweepFolder(tmp_path), (Script(),) * len(RATES)
    some = run_sweep(with_rows(sweep, ["optimizer=adam"]), VirtualPlace(folder, scripts))
    assert {entry["row"] for entry in folder.trials()} == {1}
    assert [len(row.trials) for row in some.rows] == [0, 2]
    known = folder.trials()
    every = run_sweep(sweep, VirtualPlace(folder, scripts))
    assert [len(row.trials) for row in every.rows] == [2, 2]
    assert [len(row.finals or ()) for row in every.rows] == [2, 2]
    assert folder.trials()[: len(known)] == known  # nothing was run again
    assert every.rows[1].trials[0].name == some.rows[1].trials[0].name
