"""The engine in virtual time: what becomes of a sweep's trials, one case at a time."""

from pathlib import Path
from typing import Any

import pytest

from fieldtrial.control.engine.loop import Engine, SweepError
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Ended
from fieldtrial.control.running.errors import DISK_ADVICE
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.table.render import render_markdown
from fieldtrial.sweep import Sweep
from tests.control.engine.searcher import Searcher
from tests.control.engine.virtual import (
    RATES,
    Killed,
    Script,
    VirtualPlace,
    make_sweep,
    run_sweep,
)
from tests.results.cells import own_table

ROWS = [{"lr": rate} for rate in RATES]  # one trial in each row, if there is no search


def place_of(path: Path, *scripts: Script, **options: Any) -> VirtualPlace:
    """Return a place for a sweep in `path`; further learning rates do what the last script says."""
    filled = [*scripts, *[(scripts or (Script(),))[-1]] * len(RATES)][: len(RATES)]
    return VirtualPlace(SweepFolder(path), filled, **options)


def run(sweep: Sweep, path: Path, *scripts: Script, **options: Any) -> Engine:
    return run_sweep(sweep, place_of(path, *scripts, **options))


def records_of(engine: Engine) -> dict[str, int]:
    """Return how many records each run has."""
    return {
        path.name: sum(file.read_text().count("\n") for file in path.glob("metrics-*.jsonl"))
        for path in engine.folder.path.iterdir()
        if path.is_dir()
    }


def told(engine: Engine, row: int = 0) -> list[tuple[Any, ...]]:
    return engine.rows[row]._searcher.searcher.told  # type: ignore[union-attr, no-any-return]


def test_a_stopped_trial_ends_within_an_epoch(tmp_path: Path) -> None:
    scripts = [Script(quality=quality) for quality in range(len(RATES))]
    engine = run(make_sweep(epochs=8, trials=12), tmp_path, *scripts)
    stopped = [trial for trial in engine.trials() if trial.stopped_at is not None]
    assert stopped
    finished = {trial.name for trial in engine.trials() if trial.stopped_at is None}
    for trial in stopped:
        if trial.name in finished:
            continue  # a twin with the same run trained it to the end
        records = engine.folder.run(trial.name).records()
        assert trial.stopped_at is not None
        assert trial.stopped_at <= records[-1]["epoch"] <= trial.stopped_at + 1
        assert records[-1]["epoch"] >= 2, "a fifth of eight epochs is the grace period"


def test_a_slot_has_as_many_heads_as_train_together_or_one_other_trial(tmp_path: Path) -> None:
    rows = [{"freeze": "all_but_head"}, {"freeze": "none"}]
    sweep = make_sweep(rows=rows, trials=12, epochs=1)
    place = place_of(tmp_path, slots=3, together=4)
    engine = run_sweep(sweep, place)
    groups = {task.group for task in place.started}
    assert len(groups - {""}) == 1, "all heads are of one group"
    alone = [task for task in place.started if not task.group]
    assert {task.open_run().config().freeze for task in alone} == {"none"}
    # Two of the others and four heads fill three slots; at the end only heads or others are left.
    assert 3 < place.most_running <= 12
    assert all(trial.status == "done" for trial in engine.trials())


@pytest.mark.parametrize("fault", ["death", "group"])
def test_heads_whose_group_has_failed_go_on_alone(fault: str, tmp_path: Path) -> None:
    rows = [{"freeze": "all_but_head", **row} for row in ROWS]
    place = place_of(tmp_path, Script(faults={2: (fault,)}), slots=2, together=4)
    engine = run_sweep(make_sweep(rows=rows, search={}, trials=1), place)
    assert all(trial.status == "done" and trial.attempt == 2 for trial in engine.trials())
    # Each takes a whole slot, up to its end: the place has no room for more.
    assert [task.attempt for task in place.started] == [1] * 8 + [2] * 8
    assert all(bool(task.group) == (task.attempt == 1) for task in place.started)


def test_a_trial_that_fails_alone_as_its_group_did_is_not_repeated_for_ever(
    tmp_path: Path,
) -> None:
    rows = [{"freeze": "all_but_head"}]
    place = place_of(tmp_path, Script(faults={2: ("group",) * 3}), slots=2, together=4)
    (trial,) = run_sweep(make_sweep(rows=rows, search={}, trials=1), place).trials()
    assert (trial.status, trial.attempt) == ("failed", 2)
    (trial,) = run_sweep(make_sweep(rows=rows, search={}, trials=1), place, retry=True).trials()
    assert trial.attempt == 4
    assert [bool(task.group) for task in place.started] == [True, False, True, False]


def test_duplicates_share_a_run_and_the_budget_grows_without_repetition(tmp_path: Path) -> None:
    scripts = [Script(quality=quality) for quality in range(len(RATES))]
    engine = run(make_sweep(trials=60, epochs=1), tmp_path, *scripts)
    assert len(engine.rows[0].trials) == 60
    assert all(trial.status == "done" for trial in engine.trials())
    assert records_of(engine) == {trial.name: 2 for trial in engine.trials()}
    assert len(records_of(engine)) == len(RATES)
    engine = run(make_sweep(trials=62, epochs=1, seeds=1), tmp_path, *scripts)
    assert len(engine.rows[0].trials) == 62
    assert records_of(engine) == {trial.name: 2 for trial in engine.trials()}
    finals = engine.rows[0].finals
    assert finals
    assert engine.folder.run(finals[0].name).result()["test_accuracy"] > 0  # type: ignore[index]
    engine.folder.state_path.unlink()
    before = records_of(engine)
    engine = run(make_sweep(trials=62, epochs=1, seeds=1), tmp_path, *scripts)
    assert records_of(engine) == before
    assert engine.folder.trials()


def test_a_lost_state_is_restored_from_the_trials(tmp_path: Path) -> None:
    before = run(make_sweep(trials=6), tmp_path)
    names = [trial.name for trial in before.rows[0].trials]
    before.folder.state_path.unlink()
    after = run(make_sweep(trials=7), tmp_path)
    trials = after.rows[0].trials
    assert len(trials) == 7
    restored = list(dict.fromkeys(names))  # two trials with the same run are listed once
    assert [trial.name for trial in trials[: len(restored)]] == restored
    assert all(trial.attempt == 0 for trial in trials[: len(restored)]), "none was started again"
    assert {trial.status for trial in trials} == {"done"}
    assert [what[0] for what in told(after)[: len(restored)]] == ["point"] * len(restored)


def test_rows_with_the_same_winner_share_its_finals(tmp_path: Path) -> None:
    same = [{"optimizer": "sgd"}, {"optimizer": "sgd"}]
    engine = run(make_sweep(rows=same, seeds=1, search={}, epochs=1), tmp_path)
    first, second = engine.rows
    assert [trial.name for trial in first.trials] == [trial.name for trial in second.trials]
    assert set(records_of(engine).values()) == {2}
    assert len(records_of(engine)) == 2


def test_diverged_trials_do_not_stop_the_sweep_and_are_told_as_bad(tmp_path: Path) -> None:
    rows = [{"optimizer": "sgd"}, {"optimizer": "adam"}]
    engine = run(make_sweep(rows=rows, trials=3), tmp_path, Script(diverges_at=1))
    assert {trial.status for trial in engine.trials()} == {"failed"}
    assert len(list(engine.trials())) == 6
    assert all((trial.problem or "").startswith("diverged: ") for trial in engine.trials())
    for row in range(2):
        assert told(engine, row) == [(f"{row}-{number}", "end", 0.1) for number in range(3)]


def test_what_has_diverged_is_not_tried_again(tmp_path: Path) -> None:
    engine = run(make_sweep(trials=24), tmp_path, Script(diverges_at=2))
    assert [trial.status for trial in engine.trials()] == ["failed"] * 24
    names = {trial.name for trial in engine.trials()}
    assert len(names) < 24
    assert all(engine.folder.run(name).attempts() == [1] for name in names)
    assert engine.retry() == 0


def test_the_table_counts_the_diverged(tmp_path: Path) -> None:
    sweep = make_sweep(rows=ROWS[:2], search={})
    engine = run(sweep, tmp_path, Script(), Script(diverges_at=1))
    table = render_markdown(own_table(engine.folder).grid)
    assert "the only trial failed: diverged: loss is nan at step 1" in table
    assert "1 trial failed: diverged, such as" in table


def test_the_same_error_three_times_stops_the_sweep(tmp_path: Path) -> None:
    place = place_of(tmp_path, Script(faults={1: ("planted error",)}))
    with pytest.raises(SweepError) as caught:
        run_sweep(make_sweep(rows=ROWS, search={}), place)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("the first 3 trials failed with the same error; fix it and run the")
    assert lines[1:3] == ["error: planted error", "its traceback"]
    assert lines[3].startswith(f"see {tmp_path}/")
    assert len(lines) == 4
    assert len(place.started) == 3


def test_the_sweep_goes_on_after_one_code_error(tmp_path: Path) -> None:
    sweep = make_sweep(rows=ROWS[:3], search={})
    engine = run(sweep, tmp_path, Script(), Script(faults={0: ("error",)}))
    assert [trial.status for trial in engine.trials()] == ["done", "failed", "failed"]
    assert [row.winner() is None for row in engine.rows] == [False, True, True]


def test_a_full_disk_stops_the_sweep_and_loses_nothing(tmp_path: Path) -> None:
    place = place_of(tmp_path, Script(faults={2: ("disk",)}))
    with pytest.raises(SweepError, match=DISK_ADVICE):
        run_sweep(make_sweep(trials=1), place)
    (trial,) = run_sweep(make_sweep(trials=1), place).trials()
    assert (trial.status, trial.attempt, trial.problem) == ("done", 2, None)


def test_rows_wait_for_their_source(tmp_path: Path) -> None:
    rows = [{"model": "cnn"}, {"model": "mlp"}]
    place = place_of(tmp_path, slots=2)
    engine = run_sweep(make_sweep(rows=rows, source={"lr": RATES[-1]}, search={}), place)
    for row in engine.rows:
        source = engine.sources[row.source or ""]
        assert row.trials[0].config.weights == f"run:{source.name}"
        started = place.events.index(("started", row.trials[0].trial_id))
        assert place.events.index(("done", source.trial_id)) < started


def test_rows_whose_source_failed_are_not_started(tmp_path: Path) -> None:
    rows = [{"model": "cnn"}, {"model": "mlp"}]
    sweep = make_sweep(rows=rows, source={"lr": RATES[-1]}, search={})
    engine = run(sweep, tmp_path, Script(diverges_at=1))
    assert [source.status for source in engine.sources.values()] == ["failed", "failed"]
    assert not any(row.trials for row in engine.rows)


def test_a_worker_that_keeps_dying_fails_its_trial_until_it_is_retried(tmp_path: Path) -> None:
    small = make_sweep(trials=1, seeds=1)
    (trial,) = run(small, tmp_path, Script(faults={2: ("death",) * 3})).trials()
    problem = (
        "died: its worker died 3 times in a row without completing an epoch; the last time death of"
        f" {trial.name}"
    )
    assert (trial.status, trial.deaths, trial.problem) == ("failed", 3, problem)
    place = place_of(tmp_path)
    again = Engine(small, place.folder, place)
    assert [trial.status for trial in again.trials()] == ["failed"]
    assert again.retry() == 1
    again = Engine(small, place.folder, place)  # as after an outage at this moment
    assert [trial.status for trial in again.trials()] == ["waiting"]
    again = run_sweep(small, place)
    assert [trial.status for trial in again.trials()] == ["done", "done"]
    assert {trial.role for trial in again.trials()} == {"search", "final"}


@pytest.mark.parametrize("quality", [1, 9])
def test_a_failed_trial_is_retried_while_final_runs_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: int
) -> None:
    """Whether or not it wins in the end: then others are the final runs."""
    first, second = (Searcher(RATES).suggest(f"0-{number}")["lr"] for number in range(2))
    failing = Script(quality=quality, faults={1: ("error",)})
    scripts = [failing if rate == second else Script(quality=5) for rate in RATES]
    sweep = make_sweep(trials=2, seeds=2)
    place = place_of(tmp_path, *scripts, slots=2, is_cluster=True)
    wait, killed = place.wait, list[str]()

    def wait_or_be_killed(seconds: float, more: int = 0) -> list[Ended]:
        begun = [one.task.trial for one in place._workers if one.task.test and one.epoch]
        if begun and not killed:
            killed.extend(begun)
            raise Killed
        return wait(seconds, more)

    monkeypatch.setattr(place, "wait", wait_or_be_killed)
    engine = run_sweep(sweep, place, retry=True)
    assert killed
    assert {trial.status for trial in engine.trials()} == {"done"}
    winner, (row,) = second if quality > 5 else first, engine.rows
    assert [(one.config.lr, one.config.seed) for one in row.finals or []] == [
        (winner, 1),
        (winner, 2),
    ]
    assert all(place.folder.run(name).result() for name in killed), "what ran went on to its end"
    assert (place._workers, engine._trials.running()) == ([], [])
    again = run_sweep(sweep, place)
    assert [trial.name for trial in again.trials()] == [trial.name for trial in engine.trials()]


def test_a_trial_that_hangs_is_killed_and_resumes(tmp_path: Path) -> None:
    place = place_of(tmp_path, Script(faults={2: ("hang",)}))
    (trial,) = run_sweep(make_sweep(trials=1), place).trials()
    assert [event for event, _ in place.events] == ["started", "again", "started", "done"]
    assert (trial.status, trial.attempt) == ("done", 2)
    attempts = [record["attempt"] for record in place.folder.run(trial.name).records()]
    assert attempts == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("select", ["validation_accuracy", "validation_loss"])
def test_the_winner_is_the_best(tmp_path: Path, select: str) -> None:
    scripts = [Script(quality=quality) for quality in (3, 9, 5, 1)]
    engine = run(make_sweep(select=select, trials=8, epochs=1), tmp_path, *scripts)
    winner = engine.rows[0].winner()
    assert winner is not None
    results = [engine.folder.run(trial.name).result() or {} for trial in engine.trials()]
    best = (max if select == "validation_accuracy" else min)(result[select] for result in results)
    assert (engine.folder.run(winner.name).result() or {})[select] == best == winner.best
    assert {"trial": winner.name, "row": 0, "role": "winner"} in engine.folder.trials()


def test_a_notice_of_a_worker_is_passed_on(tmp_path: Path) -> None:
    notices: list[str | None] = []
    place = place_of(tmp_path)

    def note(event: str, trial: Trial) -> None:
        notices.extend([trial.notice] if event == "notice" else [])

    small = make_sweep(trials=1)
    engine = Engine(small, place.folder, place, note, clock=place.clock)
    engine._follow(trial := Trial("0-0", "search", 0, small.planned[0].config))
    record = {"epoch": 0, "attempt": 1, "seconds": 1.0, "validation_accuracy": 0.1}
    engine._on_record(trial, record | {"notice": "checkpoint damaged"})
    assert notices == ["checkpoint damaged"]
