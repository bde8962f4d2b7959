"""Trials that were done, and whose runs are gone when the sweep is continued."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.lost import damage
from tests.control.engine.test_loop import place_of, run
from tests.control.engine.virtual import RATES, Script, make_sweep, run_sweep


def trials_of(engine: Engine) -> list[tuple[Any, ...]]:
    return [(t.trial_id, t.name, t.status, t.stopped_at, t.best) for t in engine.trials()]


@pytest.mark.parametrize("deterministic", [False, True])
def test_they_run_again_and_the_search_is_told_nothing_twice(
    tmp_path: Path, deterministic: bool
) -> None:
    scripts = [Script(quality=quality) for quality in range(len(RATES))]
    sweep = make_sweep(epochs=8, trials=12, seeds=1, deterministic=deterministic)
    before = run(sweep, tmp_path, *scripts)
    row, known = before.rows[0], trials_of(before)
    told = list(row._searcher.searcher.told)  # type: ignore[union-attr]
    stopped = next(trial for trial in row.trials if trial.stopped_at is not None)
    finished = next(trial for trial in row.trials if trial.stopped_at is None)
    (final,) = row.finals or []
    gone = {trial.name for trial in (stopped, finished, final)}
    for name in gone:
        before.folder.run(name).folder.rmtree()
    again, run_again = list[int](), Engine.run

    def repair_and_run(engine: Engine) -> None:
        again.append(engine.repair())
        run_again(engine)

    with mock.patch.object(Engine, "run", repair_and_run):
        after = run_sweep(sweep, place_of(tmp_path, *scripts))
    assert again == [sum(trial.name in gone for trial in before.trials())]
    assert trials_of(after) == known
    assert after.rows[0]._searcher.searcher.told == told  # type: ignore[union-attr]
    assert all(after.folder.run(name).result() for name in gone)
    result = after.folder.run(stopped.name).result()
    if all(t.stopped_at is not None for t in after.trials() if t.name == stopped.name):
        assert result is not None
        assert result["outcome"] == "stopped"


def test_where_nothing_is_gone_nothing_runs_again(tmp_path: Path) -> None:
    engine = run(make_sweep(), tmp_path)
    assert engine.repair() == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", None),
        ("config.json", "{"),
        ("config.json", '{"lr": "much"}'),
        ("result.json", ""),
        ("result.json", '{"outcome": "finis'),
        ("result.json", '{"outcome": "well"}'),
    ],
)
def test_a_damaged_run_is_mended(tmp_path: Path, name: str, text: str | None) -> None:
    sweep = make_sweep(seeds=2)
    before = run(sweep, tmp_path)
    known, (trial, _) = trials_of(before), before.rows[0].finals or []
    own = before.folder.run(trial.name)
    path = own.path / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert damage(own, trial.config).startswith(str(path))
    again, run_again = list[int](), Engine.run

    def repair_and_run(engine: Engine) -> None:
        again.append(engine.repair())
        run_again(engine)

    with mock.patch.object(Engine, "run", repair_and_run):
        after = run_sweep(sweep, place_of(tmp_path))
    assert again == [1]
    assert trials_of(after) == known
    assert damage(own, trial.config) == ""
    assert path.with_name(f"{name}.damaged").exists() == (text is not None)


def test_a_run_of_another_config_is_named_and_stays_as_it_is(tmp_path: Path) -> None:
    sweep = make_sweep(seeds=2)
    before = run(sweep, tmp_path)
    one, other = before.rows[0].finals or []
    path = before.folder.run(one.name).path / "config.json"
    path.write_bytes((before.folder.run(other.name).path / "config.json").read_bytes())
    engine = Engine(sweep, before.folder, place_of(tmp_path))
    assert engine.repair() == 0
    assert "seed is 2 there and 1 now" in damage(engine.folder.run(one.name), one.config)


def test_what_starts_from_a_source_waits_until_that_has_run_again(tmp_path: Path) -> None:
    sweep = make_sweep(source={"lr": RATES[-1]}, search={}, seeds=1)
    before = run(sweep, tmp_path)
    (source,) = before.sources.values()
    trial = before.rows[0].trials[0]
    for gone in (source, trial):
        before.folder.run(gone.name).folder.rmtree()
    place, again, run_again = place_of(tmp_path, slots=2), list[int](), Engine.run

    def repair_and_run(engine: Engine) -> None:
        again.append(engine.repair())
        run_again(engine)

    with mock.patch.object(Engine, "run", repair_and_run):
        run_sweep(sweep, place)
    assert again[0] >= 2
    ended = place.events.index(("done", source.trial_id))
    assert ended < place.events.index(("started", trial.trial_id))


def test_a_search_without_a_state_goes_on_without_a_run_that_is_gone(tmp_path: Path) -> None:
    before = run(make_sweep(trials=4), tmp_path)
    before.folder.state_path.unlink()
    before.folder.run(before.rows[0].trials[1].name).folder.rmtree()
    after = run(make_sweep(trials=4), tmp_path)
    assert len(after.rows[0].trials) == 4
    assert {trial.status for trial in after.trials()} == {"done"}
