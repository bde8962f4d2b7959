"""Winners over folds in virtual time: which run tests which fold, and what a sweep keeps."""

from dataclasses import replace
from pathlib import Path

import pytest

from fieldtrial.config import ConfigError
from fieldtrial.control.driver.claim import claim_folder
from fieldtrial.control.engine.loop import Engine
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.control.engine.virtual import Script, VirtualPlace, make_sweep, run_sweep

SWEEP = make_sweep(seeds=3, folds=3)
SCRIPTS = tuple(Script(quality=quality) for quality in (8, 1, 1, 1, 1, 1, 1, 1))


def run(sweep: Sweep, path: Path) -> Engine:
    return run_sweep(sweep, VirtualPlace(SweepFolder(path), SCRIPTS))


def runs(engine: Engine, role: str) -> list[tuple[int, int, int]]:
    """Return search, fold and seed of each trial with a role."""
    return [
        (one.search, one.config.fold, one.config.seed)
        for one in engine.trials()
        if one.role == role
    ]


def test_one_search_serves_all_folds(tmp_path: Path) -> None:
    engine = run(replace(SWEEP, finalists=2), tmp_path)
    assert set(runs(engine, "search")) == {(0, 0, 0)}
    assert runs(engine, "finalist") == [(0, 0, 500), (0, 0, 501), (0, 0, 502)] * 2
    assert runs(engine, "final") == [(0, 0, 1), (0, 1, 2), (0, 2, 3)]
    assert {one.config.folds for one in engine.trials()} == {3}
    (row,) = engine.rows
    winner = row.winner()
    assert winner
    assert {run.config.configuration for run in row.finals or ()} == {winner.config.configuration}


def test_each_fold_may_have_a_search_that_has_not_seen_it(tmp_path: Path) -> None:
    engine = run(replace(SWEEP, searches=3), tmp_path)
    assert set(runs(engine, "search")) == {(0, 0, 0), (1, 1, 1000), (2, 2, 2000)}
    assert runs(engine, "final") == [(0, 0, 1), (1, 1, 1001), (2, 2, 2001)]
    again = run(replace(SWEEP, searches=3), tmp_path)  # nothing is run again
    assert [one.attempt for one in again.trials()] == [one.attempt for one in engine.trials()]


def test_a_sweep_keeps_its_folds_and_whether_each_is_searched(tmp_path: Path) -> None:
    folder = run(SWEEP, tmp_path).folder
    for changes, message in (
        ({"searches": 3}, "searches is 1 there and 3 now"),
        ({"folds": 4, "base": replace(SWEEP.base, folds=4)}, "base folds is 3 there and 4 now"),
    ):
        with pytest.raises(ConfigError, match=message):
            claim_folder(replace(SWEEP, **changes), folder)
    longer = claim_folder(replace(SWEEP, trials=9), folder)
    assert list(longer.changes()) == []
