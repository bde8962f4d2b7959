"""What the engine does about trials that do not fit into memory or hang: real Ray, real workers on
a faulty machine.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import tune
from rich.console import Console

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver.live_panel import Progress
from fieldtrial.control.engine import hung as watch
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.local import LocalPlace
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.results.cells import own_table

FAULTY = (str(Path(__file__).parents[1].joinpath("faulty_worker.py")),)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUNG", str(tmp_path_factory.mktemp("hung") / "once"))
        place = LocalPlace(LocalSettings(most_trials=1), worker=FAULTY)
        yield place
        place.close()


def run(folder: Path, place: LocalPlace, **fields: object) -> tuple[Engine, str]:
    """Run a row's only trial to its end. Returns the engine, and what was printed meanwhile."""
    base = TrainConfig.from_dict({"model": "mlp", "dense_width": [16], "epochs": 3, **fields})
    sweep = Sweep(
        base=base,
        rows=[{"optimizer": "sgd"}],
        search={"lr": tune.uniform(0.01, 0.02)},
        trials=1,
        seeds=0,
    )
    output = io.StringIO()
    progress = Progress(Console(file=output, width=200))
    sweep_folder = SweepFolder(folder)
    sweep_folder.describe(sweep.describe("test"))
    engine = Engine(sweep, sweep_folder, place, progress.hear)
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
    assert "out of memory: goes on with its batches cut into 2 parts" in printed
    assert "out of memory: goes on with its batches cut into 4 parts" in printed
    footer = own_table(engine.folder).grid.footer
    line = "1 trial ran with gradient accumulation, because a whole batch did not fit into memory:"
    assert f"{line} {trial.name}." in footer
    (told,) = engine.rows[0]._searcher._ot_study.trials  # type: ignore[union-attr]
    assert told.value == trial.best


def test_what_does_not_fit_an_image_at_a_time_fails(faulty: LocalPlace, tmp_path: Path) -> None:
    engine, _ = run(
        tmp_path, faulty, seed=8, batch_size=2, epochs=1
    )  # 256 images are evaluated at once: half are 128
    (trial,) = engine.trials()
    assert (trial.status, trial.attempt, trial.accumulate) == ("failed", 2, 2)
    assert trial.problem
    assert trial.problem.startswith("memory: ")
    assert (engine.folder.run(trial.name).error() or {})["kind"] == "memory"


def test_a_trial_that_hangs_is_dumped_and_goes_on(
    faulty: LocalPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "SILENT_SECONDS", 10.0)
    monkeypatch.setattr(watch, "DUMP_SECONDS", 3.0)
    engine, printed = run(tmp_path, faulty, seed=7)
    (trial,) = engine.trials()
    own = engine.folder.run(trial.name)
    assert (trial.status, trial.attempt, trial.problem) == ("done", 2, None)
    assert [record["attempt"] for record in own.records()] == [1, 2, 2, 2]
    assert "starts again: it was silent for " in printed
    assert f"what it was doing is in {own.log_path(1)}" in printed
    log = own.log_path(1).read_text()
    assert "most recent call first" in log
    assert "in train_or_hang" in log
