"""Faults of real workers over real Ray: a death, too little memory, and a trial that hangs."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import tune
from rich.console import Console

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver.live_panel import LivePanel
from fieldtrial.control.engine.loop import Engine, Listener
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.control.running import hung
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.sweep import Sweep
from tests.results.cells import own_table

FAULTY = (str(Path(__file__).parents[1].joinpath("faulty_worker.py")),)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUNG", str(tmp_path_factory.mktemp("hung") / "once"))
        patch.setenv("FIELDTRIAL_CHECKPOINT_SECONDS", "0")
        place = LocalPlace(LocalSettings(most_trials=1), worker=FAULTY)
        yield place
        place.close()


def run(
    folder: Path, place: LocalPlace, listen: Listener = lambda *_: None, **fields: object
) -> tuple[Engine, str]:
    """Run a row's only trial to its end. Returns the engine, and what was printed meanwhile."""
    base = TrainConfig.from_dict({"model": "mlp", "dense_width": [16], "epochs": 3, **fields})
    sweep = Sweep(
        base=base,
        rows=[{"optimizer": "sgd"}],
        search={"lr": tune.uniform(0.01, 0.02)},
        searcher="tpe",
        trials=1,
        seeds=0,
    )
    output = io.StringIO()
    progress = LivePanel(Console(file=output, width=200))
    sweep_folder = SweepFolder(folder)
    sweep_folder.write_description(sweep.describe("test"))

    def on_event(event: str, trial: Trial) -> None:
        progress.on_event(event, trial)
        listen(event, trial)

    engine = Engine(sweep, sweep_folder, place, on_event)
    with progress.follow(engine):
        engine.run()
    return engine, output.getvalue()


def test_batches_that_do_not_fit_into_memory_are_cut_and_nobody_is_blamed(
    faulty: LocalPlace, tmp_path: Path
) -> None:
    engine, printed = run(tmp_path, faulty, seed=8)
    (trial,) = engine.trials()
    assert (trial.status, trial.attempt, trial.accumulate, trial.deaths) == ("done", 3, 4, 0)
    own = engine.folder.run(trial.name)
    result = own.result()
    assert result is not None
    assert (result["outcome"], result["accumulate"]) == ("finished", 4)
    assert own.config().batch_size == 64
    assert own.error() is None
    assert {record["attempt"] for record in own.records()} == {3}
    assert "out of memory: resumes with gradient accumulation over 2 micro-batches" in printed
    assert "out of memory: resumes with gradient accumulation over 4 micro-batches" in printed
    footer = own_table(engine.folder).grid.footer
    accumulated = "1 trial ran with gradient accumulation, because a whole batch did not fit into"
    assert f"{accumulated} memory: {trial.name}." in footer
    (told,) = engine.rows[0]._searcher.searcher._ot_study.trials  # type: ignore[union-attr]
    assert told.value == trial.best


def test_a_dead_worker_is_not_the_trials_fault(faulty: LocalPlace, tmp_path: Path) -> None:
    events: list[str] = []

    def kill_once(event: str, trial: Trial) -> None:
        events.append(event)
        if event == "started" and trial.attempt == 1:
            run, deadline = SweepFolder(tmp_path).run(trial.name), time.monotonic() + 120
            while len(run.records()) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            faulty.kill(Task(str(run.path.resolve()), trial.attempt))

    engine, _ = run(tmp_path, faulty, kill_once, seed=9, epochs=40)
    (trial,) = engine.trials()
    assert events == ["started", "again", "started", "done"]
    assert (trial.status, trial.deaths, trial.attempt, trial.problem) == ("done", 0, 2, None)
    records = engine.folder.run(trial.name).records()
    assert [record["epoch"] for record in records] == list(range(41))
    assert {record["attempt"] for record in records} == {1, 2}


def test_a_trial_that_hangs_is_dumped_and_goes_on(
    faulty: LocalPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hung, "HUNG_SECONDS", 10.0)
    monkeypatch.setattr(hung, "DUMP_SECONDS", 3.0)
    engine, printed = run(tmp_path, faulty, seed=7)
    (trial,) = engine.trials()
    own = engine.folder.run(trial.name)
    assert (trial.status, trial.attempt, trial.problem) == ("done", 2, None)
    assert [record["attempt"] for record in own.records()] == [1, 2, 2, 2]
    assert "resumes: it was hung: no record for " in printed
    assert f"its stack traces are in {own.log_path(1)}" in printed
    log = own.log_path(1).read_text()
    assert "most recent call first" in log
    assert "in train_or_hang" in log
