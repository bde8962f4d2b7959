"""`import fieldtrial as ft`: a sweep's frames, table and verdicts are those of the commands."""

from pathlib import Path

import pandas as pd
import pytest

import fieldtrial as ft
from fieldtrial.results.read.sweeps import read_sweep
from fieldtrial.results.read.trials import load
from fieldtrial.results.table.tables import sweep_table
from tests.results.conftest import Written


def test_a_sweep_is_three_frames(complete: Written) -> None:
    own = ft.load(complete.folder.path)
    pd.testing.assert_frame_equal(
        own.trials[["trial", "row", "role"]], load(complete.folder)[["trial", "row", "role"]]
    )
    assert len(own.epochs) == 15 * 4  # trials, epochs from 0 to 3
    sweeps = read_sweep(complete.folder)
    pd.testing.assert_frame_equal(own.rows, sweep_table(sweeps, sweeps.records()).frame)
    assert repr(own) == "<sweep: 15 trials, 3 rows>"


def test_the_table_has_the_texts_that_people_read(complete: Written) -> None:
    shown = ft.table(complete.folder.path)
    assert shown["validation accuracy %"].tolist() == ["90.00", "80.00", "70.00"]
    assert shown["model"].tolist() == ["cnn", "cnn", "mlp"]
    assert "The winner of a row has the best validation_accuracy" in shown.attrs["caption"]
    assert shown.attrs["notes"]
    grouped = ft.table(complete.folder.path, rows=["model"], where={"freeze": ["none"]})
    assert grouped["model"].tolist() == ["cnn", "mlp"]


def test_texts_are_taken_as_on_a_command_line(complete: Written) -> None:
    path = complete.folder.path
    in_lists = ft.table(path, rows=["model", "freeze"], show=["minutes"], where={"model": "cnn"})
    for where in ("model=cnn", ["model=cnn"]):
        in_texts = ft.table(path, rows="model, freeze", show="minutes", where=where)
        pd.testing.assert_frame_equal(in_texts, in_lists)
    pd.testing.assert_frame_equal(
        ft.table(path, rows="freeze", columns="model"),
        ft.table(path, rows=["freeze"], columns=["model"]),
    )
    with pytest.raises(ValueError, match="--where: model: must be FIELD=VALUE"):
        ft.table(path, where="model")


def test_folders_may_stand_in_a_list(complete: Written) -> None:
    path = complete.folder.path
    own = ft.load([path])
    assert repr(own) == repr(ft.load(str(path))) == "<sweep: 15 trials, 3 rows>"
    pd.testing.assert_frame_equal(ft.table([str(path)]), ft.table(path))
    with pytest.raises(ValueError, match="load: needs a sweep's folder"):
        ft.load([])


def test_verdicts_are_against_the_best_or_between_every_two(complete: Written) -> None:
    own = ft.load(complete.folder.path)
    to_the_best = ft.verdicts(own)
    assert to_the_best["verdict"][0] == "best"
    assert to_the_best["difference"].tolist()[1:] == pytest.approx([-0.1, -0.2])
    assert set(to_the_best["other"][1:]) == {to_the_best["row"][0]}
    shown = to_the_best["corrected_p"][1:] < 0.05
    assert (to_the_best["verdict"][1:].eq("worse") == shown).all()
    pairs = ft.verdicts(own, pairs=True)
    assert len(pairs) == 3
    last = pairs.iloc[-1]
    assert (last["row"], last["other"]) == (to_the_best["row"][1], to_the_best["row"][2])
    assert last["difference"] == pytest.approx(0.1)


def test_what_is_not_there_is_said(complete: Written, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing/sweep.json: no such file"):
        ft.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no trial is left; there are: none, all_but_head"):
        ft.table(complete.folder.path, where={"freeze": "last:1"})
    with pytest.raises(AttributeError, match="no attribute 'tables'"):
        _ = ft.tables  # type: ignore[attr-defined]
