"""A sweep whose rows or search have changed goes on from the trials that still belong to it.

What it should be is known from the same sweep begun anew: nothing in a row depends on the others.
"""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ray import tune

from fieldtrial.config import ConfigError
from fieldtrial.control.driver.claim import claim_folder
from fieldtrial.control.engine import row as row_module
from fieldtrial.control.engine.journal.key import ForeignStateError
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.ray_tune import build_searcher
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.search_domains import (
    Domain,
    choice,
    contains,
    loguniform,
    qrandint,
    quniform,
    randint,
    uniform,
)
from fieldtrial.sweep import Sweep
from tests.control.engine.searcher import Searcher
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep
from tests.results.cells import own_table

SGD, ADAMW, RMSPROP = ({"optimizer": name} for name in ("sgd", "adamw", "rmsprop"))
SCRIPTS = [Script(quality=quality) for quality in (9, 3, 7, 1, 5, 2, 8, 4)]


def sweep_of(*rows: Mapping[str, object], **fields: Any) -> Sweep:
    # With two trials, the stand-in for a searcher proposes nothing twice.
    return make_sweep(**{"rows": rows, "seeds": 2, "trials": 2, **fields})


def go_on(path: Path, sweep: Sweep, searcher: type | None = Searcher) -> tuple[Engine, list[str]]:
    """Run a sweep in its folder to its end; return its engine, and what was said to have changed.

    searcher: stands in for Optuna's, unless None.
    """
    place = VirtualPlace(SweepFolder(path), SCRIPTS)
    place.epochs = sweep.base.epochs
    made = (lambda *_: searcher(RATES)) if searcher else build_searcher
    with mock.patch.object(row_module, "build_searcher", made):
        claim = claim_folder(sweep, place.folder)
        trials = claim.trials
        claim.write()
        place.engine = Engine(
            *(sweep, place.folder, place, place.on_event, place.act, place.clock), trials=trials
        )
        place.engine.run()
    return place.engine, list(claim.changes())


def started(engine: Engine) -> list[str]:
    """Return the rows' optimizers of the trials that were given to workers."""
    place = engine.place
    assert isinstance(place, VirtualPlace)
    return [task.open_run().config().optimizer for task in place.started]


def table(path: Path) -> list[dict[Any, Any]]:
    return own_table(SweepFolder(path)).frame.to_dict("records")


def test_rows_are_added_before_after_and_between_and_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    go_on(path, sweep_of(SGD, ADAMW))
    engine, said = go_on(path, sweep_of(RMSPROP, ADAMW))
    assert set(started(engine)) == {"rmsprop"}
    assert said == [
        "rows: 1 new, 1 taken out",
        "trials: 4 stay, 4 left out of the table, with their files kept",
    ]
    go_on(tmp_path / "new" / "sweep", sweep_of(RMSPROP, ADAMW))
    assert str(table(path)) == str(table(tmp_path / "new" / "sweep"))
    left_out = "left out: of no row or search that the sweep has now."
    assert [line for line in own_table(engine.folder).grid.footer if left_out in line]
    assert [trial.row for trial in engine.trials()] == [0] * 4 + [1] * 4

    engine, _ = go_on(path, sweep_of(SGD, RMSPROP, ADAMW))  # what was taken out is found again
    assert started(engine) == ["sgd"] * 2, "its final runs, which have ended, are asked for"
    go_on(tmp_path / "old" / "sweep", sweep_of(SGD, RMSPROP, ADAMW))
    assert str(table(path)) == str(table(tmp_path / "old" / "sweep"))


def test_rows_are_added_to_a_search_in_rounds_and_with_a_source(tmp_path: Path) -> None:
    for name, fields in (
        ("rounds", {"deterministic": True}),
        ("source", {"source": {"epochs": 2}}),
    ):
        go_on(tmp_path / name, sweep_of(ADAMW, **fields))
        engine, _ = go_on(tmp_path / name, sweep_of(SGD, ADAMW, **fields))
        assert set(started(engine)) == {"sgd"}
        go_on(tmp_path / "new" / name, sweep_of(SGD, ADAMW, **fields))
        assert str(table(tmp_path / name)) == str(table(tmp_path / "new" / name))


def test_a_wider_search_knows_the_trials_so_far_and_a_narrower_one_forgets_some(
    tmp_path: Path,
) -> None:
    path = tmp_path / "sweep"
    narrow = sweep_of(SGD, search={"lr": tune.choice(RATES[:4])}, searcher="tpe")
    first, _ = go_on(path, narrow, None)
    known = {trial.name: trial.best for trial in first.rows[0].trials}
    wider = sweep_of(SGD, search={"lr": tune.choice(RATES)}, trials=8, searcher="tpe")
    engine, said = go_on(path, wider, None)
    assert [trial.name for trial in engine.rows[0].trials][: len(known)] == list(known)
    assert {tuple(engine.folder.run(name).attempts()) for name in known} == {(1,)}, "not again"
    study = engine.rows[0]._searcher.searcher._ot_study  # type: ignore[union-attr]
    assert [trial.value for trial in study.trials[: len(known)]] == list(known.values())
    rates = ", ".join(map(str, RATES))
    assert said[0] == (
        f"search lr was choice({', '.join(map(str, RATES[:4]))}), and is choice({rates}) now"
    )

    narrow = sweep_of(SGD, search={"lr": tune.choice(RATES[2:])}, trials=8, searcher="tpe")
    engine, said = go_on(path, narrow, None)
    assert {trial.config.lr for trial in engine.trials()} <= set(RATES[2:])
    out = {entry["trial"] for entry in engine.folder.trials() if entry["row"] is None}
    rates_out = {engine.folder.run(trial).config().lr for trial in out}
    assert rates_out
    assert rates_out <= set(RATES[:2])
    assert f", {len(out)} left out of the table" in said[1]
    best = own_table(engine.folder).frame["lr"].tolist()
    assert set(best) <= set(RATES[2:])


@pytest.mark.parametrize("deterministic", [True, False])
def test_numbers_that_are_equal_are_no_change(tmp_path: Path, deterministic: bool) -> None:
    fields = {"trials": 1, "seeds": 0, "deterministic": deterministic}
    for low in (0, 0.0, 0):
        search = {"label_smoothing": tune.uniform(low, 0.2)}
        engine, said = go_on(tmp_path / "sweep", sweep_of(SGD, search=search, **fields), None)
        assert said == []
        assert len(list(engine.trials())) == 1


@pytest.mark.parametrize("step", ["relist_trials", "write_description", "trials"])
def test_a_driver_that_is_killed_while_it_writes_the_change_goes_on(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep"
    go_on(path, sweep_of(SGD, ADAMW))
    with monkeypatch.context() as patch:
        claim = claim_folder(sweep_of(RMSPROP, ADAMW), SweepFolder(path))
        assert claim.trials
        assert claim.entries
        patch.setattr(SweepFolder, step, mock.Mock(side_effect=KeyboardInterrupt))
        with contextlib.nullcontext() if step == "trials" else pytest.raises(KeyboardInterrupt):
            claim.write()  # the list has been read: so this comes to its end, and nothing after it
    engine, _ = go_on(path, sweep_of(RMSPROP, ADAMW))
    assert set(started(engine)) == {"rmsprop"}


def test_the_state_of_another_folder_is_not_taken_whatever_rows_are_added(tmp_path: Path) -> None:
    go_on(tmp_path / "a", sweep_of(ADAMW))
    (tmp_path / "a").rename(tmp_path / "b")
    claim = claim_folder(sweep_of(SGD, ADAMW), SweepFolder(tmp_path / "b"))
    before = contents(tmp_path)
    with pytest.raises(ForeignStateError, match="written for sweep a in"):
        _ = claim.trials
    assert contents(tmp_path) == before


def test_a_copy_without_the_private_files_goes_on_for_a_colleague_or_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = go_on(tmp_path / "a", sweep_of(SGD, ADAMW))
    private = shutil.ignore_patterns("driver.*", "engine.state", "queue", "jobs", "code")
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=private)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user's"))
    engine, _ = go_on(tmp_path / "b", sweep_of(SGD, ADAMW))
    assert [trial.name for trial in engine.trials()] == [trial.name for trial in first.trials()]
    runs = [engine.folder.run(trial.name) for trial in engine.trials()]
    assert {tuple(run.attempts()) for run in runs} == {(1,)}, "no trial was trained again"
    assert [row._searcher.searcher.told for row in engine.rows] == [  # type: ignore[union-attr]
        [("point", trial.config.lr, trial.best) for trial in row.trials] for row in first.rows
    ]
    assert str(table(tmp_path / "a")) == str(table(tmp_path / "b"))


def test_a_sweep_with_no_row_of_the_folders_is_another_and_said_shortly(tmp_path: Path) -> None:
    rows = [{"optimizer": "sgd", "batch_size": 1 + number} for number in range(24)]
    go_on(tmp_path / "sweep", sweep_of(*rows, trials=1, seeds=0))
    other = [{"optimizer": "adamw", "batch_size": 1 + number} for number in range(24)]
    with pytest.raises(ConfigError) as caught:
        claim_folder(sweep_of(*other), SweepFolder(tmp_path / "sweep"))
    lines = str(caught.value).splitlines()
    where = f"{tmp_path / 'sweep'} holds another sweep: "
    assert lines == [
        f"{where}rows: none is there and here; the first is sgd · 1 there and adamw · 1 now",
        f"{where}give another --name, or undo the change",
    ]


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (uniform(0, 0.2), [0, 0.0, 0.1, 0.2], [-1e-9, 0.3, None, "0.1"]),
        (loguniform(1e-4, 0.1), [1e-4, 0.1], [0.0, 1e-5]),
        (randint(1, 9), [1, 8], [0, 9]),
        (qrandint(16, 64, 16), [16, 32, 64], [17, 80]),
        (quniform(0.1, 0.7, 0.1), [0.1, 0.3, 0.7], [0.25, 0.8]),
        (choice([16, 32]), [16, 32], [24, "x"]),
        (choice(["none", "last:1"]), ["none", "last:1"], ["last:2"]),
        (choice([[8, 16], [16, 32]]), [(8, 16), (16, 32)], [(8,), 8]),
    ],
)
def test_what_a_search_can_propose(
    domain: Domain, inside: Sequence[object], outside: Sequence[object]
) -> None:
    assert [contains(domain, value) for value in inside] == [True] * len(inside)
    assert [contains(domain, value) for value in outside] == [False] * len(outside)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder: files with their content, and folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }
