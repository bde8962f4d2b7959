"""The engine over real Ray, with real workers that sleep instead of training (0.3 s an epoch)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine, SweepError
from fieldtrial.control.engine.outcomes import MOST_DEATHS
from fieldtrial.control.engine.state import load_state
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Task
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.table.render import render_markdown
from fieldtrial.sweep import Sweep
from tests.results.cells import own_table


def sweep(**fields: Any) -> Sweep:
    base = TrainConfig(epochs=fields.pop("epochs", 1))
    return Sweep(
        **{"base": base, "rows": [{"optimizer": "sgd"}], "seeds": 0, "trials": 4, **fields}
    )


def run(
    sweep: Sweep,
    folder: Path,
    place: LocalPlace,
    listen: Callable[[str, Trial], None] | None = None,
) -> Engine:
    """Run the sweep to its end in `folder`."""
    engine = Engine(sweep, described(sweep, folder), place, listen or (lambda *_: None))
    engine.run()
    return engine


def described(sweep: Sweep, path: Path) -> SweepFolder:
    folder = SweepFolder(path)
    folder.describe(sweep.describe("test"))
    return folder


def epochs_of(engine: Engine) -> dict[str, int]:
    """Return how many records each run has."""
    return {
        path.name: sum(file.read_text().count("\n") for file in path.glob("metrics-*.jsonl"))
        for path in engine.folder.path.iterdir()
        if path.is_dir()
    }


def test_a_stopped_trial_ends_within_an_epoch(place: LocalPlace, tmp_path: Path) -> None:
    engine = run(
        sweep(epochs=8, trials=6, search={"lr": tune.loguniform(1e-5, 1e-1)}), tmp_path, place
    )
    stopped = [trial for trial in engine.trials() if trial.stopped_at is not None]
    assert stopped
    for trial in stopped:
        records = engine.folder.run(trial.name).records()
        assert trial.stopped_at is not None
        assert trial.stopped_at <= records[-1]["epoch"] <= trial.stopped_at + 1
        assert records[-1]["epoch"] >= 2, "a fifth of eight epochs is the grace"


def test_duplicates_share_a_run_and_the_budget_grows_without_repetition(
    place: LocalPlace, tmp_path: Path
) -> None:
    search = {"momentum": tune.choice([0.5, 0.6])}
    engine = run(sweep(trials=6, search=search), tmp_path, place)
    assert len(engine.rows[0].trials) == 6
    assert all(trial.status == "done" for trial in engine.trials())
    assert epochs_of(engine) == {trial.name: 2 for trial in engine.trials()}
    assert len(epochs_of(engine)) == 2
    engine = run(sweep(trials=8, seeds=1, search=search), tmp_path, place)
    assert len(engine.rows[0].trials) == 8
    finals = engine.rows[0].finals
    assert finals is not None
    assert epochs_of(engine) == {trial.name: 2 for trial in engine.trials()}
    assert engine.folder.run(finals[0].name).result()["test_accuracy"] > 0  # type: ignore[index]
    engine.folder.state_path.unlink()
    before = epochs_of(engine)
    engine = run(sweep(trials=8, seeds=1, search=search), tmp_path, place)
    assert epochs_of(engine) == before
    assert engine.folder.trials()


def test_a_lost_state_is_made_good_from_the_trials(place: LocalPlace, tmp_path: Path) -> None:
    search = {"lr": tune.loguniform(1e-4, 1.0), "filters": tune.choice([(8,), (16,)])}
    before = run(sweep(trials=6, search=search), tmp_path, place)
    names = [[trial.name for trial in row.trials] for row in before.rows]
    before.folder.state_path.unlink()
    after = run(sweep(trials=7, search=search), tmp_path, place)
    assert [[trial.name for trial in row.trials][:6] for row in after.rows] == names
    assert [len(row.trials) for row in after.rows] == [7] * len(names)
    assert all(trial.attempt == 0 for row in after.rows for trial in row.trials[:6]), (
        "none was started again"
    )
    assert {trial.status for trial in after.trials()} == {"done"}


def test_rows_with_the_same_winner_share_its_finals(place: LocalPlace, tmp_path: Path) -> None:
    same = [{"optimizer": "sgd"}, {"optimizer": "sgd"}]
    engine = run(sweep(rows=same, seeds=1, search={}), tmp_path, place)
    assert [trial.name for trial in engine.rows[0].trials] == [
        trial.name for trial in engine.rows[1].trials
    ]
    assert set(epochs_of(engine).values()) == {2}
    assert len(epochs_of(engine)) == 2


def test_diverged_trials_do_not_stop_the_sweep(place: LocalPlace, tmp_path: Path) -> None:
    rows = [{"optimizer": "sgd"}, {"optimizer": "adam"}]
    search = {"lr": tune.loguniform(100.0, 1000.0)}
    engine = run(sweep(rows=rows, trials=3, search=search), tmp_path, place)
    assert [(trial.status, trial.problem) for trial in engine.trials()] == [
        ("failed", "diverged: loss is nan at step 1")
    ] * 6
    for row in engine.rows:
        told = row._searcher._ot_study.trials  # type: ignore[union-attr]
        assert [trial.value for trial in told] == [0.1] * 3


def test_what_has_diverged_is_not_tried_again(place: LocalPlace, tmp_path: Path) -> None:
    engine = run(sweep(trials=4, search={"lr": tune.choice([100.0])}), tmp_path, place)
    assert [trial.status for trial in engine.trials()] == ["failed"] * 4
    assert epochs_of(engine) == {engine.rows[0].trials[0].name: 1}
    assert engine.folder.run(engine.rows[0].trials[0].name).attempts() == [1]
    assert Engine(engine.sweep, engine.folder, place).retry() == 0


def test_the_table_counts_the_diverged(place: LocalPlace, tmp_path: Path) -> None:
    rows = [{"lr": 0.01}, {"lr": 100.0}]
    engine = run(sweep(rows=rows, search={}), tmp_path, place)
    table = render_markdown(own_table(engine.folder).grid)
    assert "the only trial failed: diverged: loss is nan at step 1" in table
    assert "1 trial failed: diverged, such as" in table


def test_the_same_error_three_times_stops_the_sweep(place: LocalPlace, tmp_path: Path) -> None:
    planted = sweep(trials=9, search={"dropout": tune.uniform(0.91, 0.95)})
    with pytest.raises(SweepError) as caught:
        run(planted, tmp_path, place)
    while place._running:
        place.wait(0.1)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        "the first 3 trials failed with the same error; mend it and give --retry"
    )
    assert lines[1:3] == ["error: planted error", "Traceback of the planted error"]
    assert lines[3].startswith(f"see {tmp_path}/")
    assert len(lines) == 4
    assert len(list(tmp_path.glob("*/error.json"))) <= 4  # one may have been under way


class Watched:
    """A place that notes whether the state knew of a task before it was started."""

    def __init__(self, place: LocalPlace, folder: Path) -> None:
        self.slots, self.processes, self.wait, self.close = (
            place.slots,
            place.processes,
            place.wait,
            place.close,
        )
        self.adopt, self.stop, self.dump, self.kill = (
            place.adopt,
            place.stop,
            place.dump,
            place.kill,
        )
        self.backlog = place.backlog
        self.known: list[bool] = []
        self._place, self._folder = place, SweepFolder(folder)

    def start(self, task: Task) -> None:
        rows, sources = load_state(self._folder.state_path) or ([], {})
        trials = [
            *sources.values(),
            *(trial for row in rows for trial in [*row.trials, *(row.finals or [])]),
        ]
        named = {trial.name: (trial.status, trial.attempt) for trial in trials}
        self.known.append(named.get(task.run.name) == ("running", task.attempt))
        self._place.start(task)


def test_what_is_started_is_saved_before(place: LocalPlace, tmp_path: Path) -> None:
    watched = Watched(place, tmp_path)
    small = sweep(
        rows=[{"model": "cnn"}],
        source={"lr": 0.5},
        search={"momentum": tune.uniform(0, 0.9)},
        seeds=1,
    )
    Engine(small, described(small, tmp_path), watched).run()
    assert watched.known == [True] * 6


def test_rows_wait_for_their_source(place: LocalPlace, tmp_path: Path) -> None:
    order = []
    both = sweep(rows=[{"model": "cnn"}, {"model": "mlp"}], source={"lr": 0.5}, search={})
    engine = run(
        both,
        tmp_path,
        place,
        lambda event, trial: order.append((event, trial.role, trial.config.model)),
    )
    for model in ("cnn", "mlp"):
        assert order.index(("done", "source", model)) < order.index(("started", "search", model))
    for row, source in zip(engine.rows, engine.sources.values(), strict=True):
        assert row.trials[0].config.weights == f"run:{source.name}"


def test_rows_whose_source_failed_are_not_started(place: LocalPlace, tmp_path: Path) -> None:
    both = sweep(rows=[{"model": "cnn"}, {"model": "mlp"}], source={"lr": 50.0}, search={})
    engine = run(both, tmp_path, place)
    assert [source.status for source in engine.sources.values()] == ["failed", "failed"]
    assert not any(row.trials for row in engine.rows)


def test_a_dead_worker_is_not_the_trials_fault(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    events: list[str] = []

    def kill_once(event: str, trial: Trial) -> None:
        events.append(event)
        if event == "started" and trial.attempt == 1:
            records = SweepFolder(tmp_path).run(trial.name).records
            assert processes.eventually(lambda: len(records()) == 3)
            for worker in processes.workers(os.getpid()):
                worker.kill()

    engine = run(sweep(epochs=4, search={}), tmp_path, place, kill_once)
    (trial,) = engine.trials()
    assert events == ["started", "again", "started", "done"]
    assert (trial.status, trial.deaths, trial.attempt, trial.problem) == ("done", 0, 2, None)
    attempts = [record["attempt"] for record in engine.folder.run(trial.name).records()]
    assert attempts == [1, 1, 1, 2, 2]
    assert epochs_of(engine) == {trial.name: 5}


def test_a_worker_that_keeps_dying_fails_its_trial_until_it_is_retried(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    def kill(event: str, trial: Trial) -> None:
        run = SweepFolder(tmp_path).run(trial.name)
        if event == "started" and trial.attempt <= MOST_DEATHS:
            assert processes.eventually(lambda: run.attempts()[-1:] == [trial.attempt])
            for worker in processes.workers(os.getpid()):
                worker.kill()

    small = sweep(epochs=8, search={"lr": tune.loguniform(1e-3, 1e-1)}, trials=1, seeds=1)
    engine = run(small, tmp_path, place, kill)
    (trial,) = engine.trials()
    problem = "died: 3 times without another epoch; the last time its worker was killed by SIGKILL"
    assert (trial.status, trial.deaths, trial.problem) == ("failed", 3, problem)
    again = Engine(small, described(small, tmp_path), place)
    assert [trial.status for trial in again.trials()] == ["failed"]
    assert again.retry() == 1
    again = Engine(
        small, described(small, tmp_path), place
    )  # as after an outage that strikes right then
    assert [trial.status for trial in again.trials()] == ["waiting"]
    again.run()
    assert [trial.status for trial in again.trials()] == ["done", "done"]
    assert {trial.role for trial in again.trials()} == {"search", "final"}


def test_a_killed_actor_is_a_death_and_no_failure(
    place: LocalPlace, processes: Any, tmp_path: Path
) -> None:
    def kill_once(event: str, trial: Trial) -> None:
        if event == "started" and trial.attempt == 1:
            records = SweepFolder(tmp_path).run(trial.name).records
            assert processes.eventually(lambda: len(records()) == 2)
            for actor in processes.actors(os.getpid()):
                actor.kill()

    engine = run(sweep(epochs=3, search={}), tmp_path, place, kill_once)
    (trial,) = engine.trials()
    assert trial.status == "done"
    assert epochs_of(engine) == {trial.name: 4}


def test_the_sweep_goes_on_after_one_code_error(place: LocalPlace, tmp_path: Path) -> None:
    rows = [{"dropout": value} for value in (0.0, 0.95, 0.91)]
    engine = run(sweep(rows=rows, search={}), tmp_path, place)
    assert [trial.status for trial in engine.trials()] == ["done", "failed", "failed"]
    assert [row.winner() is None for row in engine.rows] == [False, True, True]


@pytest.mark.parametrize("select", ["validation_accuracy", "validation_loss"])
def test_the_winner_is_the_best(place: LocalPlace, tmp_path: Path, select: str) -> None:
    search = {"lr": tune.choice([1e-4, 1e-2, 1e-1])}
    engine = run(sweep(select=select, trials=4, search=search), tmp_path, place)
    winner = engine.rows[0].winner()
    assert winner is not None
    results = {
        trial.name: engine.folder.run(trial.name).result() or {} for trial in engine.trials()
    }
    best = (max if select == "validation_accuracy" else min)(
        result[select] for result in results.values()
    )
    assert results[winner.name][select] == best == winner.best
    assert {"trial": winner.name, "row": 0, "role": "winner"} in engine.folder.trials()
