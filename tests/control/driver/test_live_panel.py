"""What the panel counts: a trial runs when a worker has begun it, not when it was handed over."""

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from ray import tune
from rich.console import Console

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver import live_panel
from fieldtrial.control.driver.live_panel import LivePanel
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.interface import Backlog, Ended
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from fieldtrial.panel.standing import Standing
from fieldtrial.sweep import Sweep

SMALL = Sweep(
    base=TrainConfig(epochs=2),
    rows=[{"optimizer": "sgd"}],
    search={"lr": tune.uniform(0.01, 0.1)},
    trials=4,
    seeds=0,
)


class WaitingPlace:
    """Two slots whose jobs never begin a task; every second `wait` interrupts the driver."""

    slots, together, processes = 2, 1, 1

    def __init__(self) -> None:
        self.backlog: Backlog | None = Backlog(reasons=("Priority",))
        self.waits = 0

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        return []

    def start(self, task: Task) -> None:
        pass

    def wait(self, _seconds: float, more: int = 0) -> list[Ended]:  # noqa: ARG002
        self.waits += 1
        if self.waits % 2 == 0:
            raise KeyboardInterrupt
        return []

    def stop(self, _task: Task) -> None:
        raise AssertionError

    def kill(self, _task: Task) -> None:
        raise AssertionError

    def dump(self, _task: Task) -> bool:
        raise AssertionError

    def close(self, detach: bool = False) -> None:  # noqa: ARG002
        raise AssertionError


def look_at(engine: Engine) -> None:
    """Have the engine read the records once."""
    with pytest.raises(KeyboardInterrupt):
        engine.run()


def test_what_others_are_fine_tuned_from_runs_too(tmp_path: Path) -> None:
    place, folder = WaitingPlace(), SweepFolder(tmp_path)
    sweep = replace(SMALL, source={"epochs": 3})
    folder.write_description(sweep.describe("x"))
    engine = Engine(sweep, folder, place)
    progress = LivePanel(Console()).follow(engine)
    look_at(engine)
    assert [source.outcome for source in progress.standing().sources] == ["waiting"]
    (source,) = engine.sources.values()
    with folder.run(source.name).recorder(1):
        look_at(engine)
    assert progress.standing().counts["running"] == 1


def test_what_waits_for_a_job_does_not_run(tmp_path: Path) -> None:
    place, folder = WaitingPlace(), SweepFolder(tmp_path)
    folder.write_description(SMALL.describe("x"))
    engine = Engine(SMALL, folder, place)
    progress = LivePanel(Console()).follow(engine)
    look_at(engine)
    standing = progress.standing()
    assert standing.rows[0].counts == {"waiting": 4}
    assert (standing.queued, standing.reasons) == (2, ("Priority",))
    first, _ = engine.rows[0].trials
    with folder.run(first.name).recorder(1) as recorder:
        recorder.write({"epoch": 0, "seconds": 30.0, "validation_accuracy": 0.1})
        look_at(engine)
    standing = progress.standing()
    assert standing.rows[0].counts == {"waiting": 3, "running": 1}
    assert standing.queued == 1
    place.backlog = Backlog(requeued=frozenset({first.name}))  # preempted: it goes on from there
    standing = progress.standing()
    assert (standing.rows[0].counts, standing.queued) == ({"waiting": 4}, 2)
    assert standing.rows[0].seconds_of("running", "waiting") == [30.0, 0.0]
    place.backlog = None
    assert progress.standing().queued == 0, "workers are there already"


def test_a_row_has_all_of_its_searches(tmp_path: Path) -> None:
    place, folder = WaitingPlace(), SweepFolder(tmp_path)
    sweep = replace(SMALL, seeds=2, finalists=3, searches=2)
    folder.write_description(sweep.describe("x"))
    console = Console(file=io.StringIO(), width=200)
    progress = LivePanel(console)
    engine = Engine(sweep, folder, place, progress.on_event)
    progress.follow(engine)
    look_at(engine)
    (row,) = progress.standing().rows
    assert (len(row.search), row.budget, row.seeds, row.finalist_runs) == (2, 8, 4, 12)
    assert progress.standing().expected == 2 * (4 + 3 * 2 + 2)
    second = engine.rows[1]
    for number, lr in enumerate((0.02, 0.03)):
        config = replace(second.config, lr=lr)
        best = {"outcome": "finished", "epochs": 2, "validation_accuracy": 0.5 + number / 10}
        second.restore(config, best)
    second.add_finalists()
    (row,) = progress.standing().rows
    assert (row.best, len(row.finalists), row.finalist_runs) == (0.6, 4, 6 + 4)
    progress.on_event("failed", second.finalist_runs[0])
    with progress:
        pass
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "row 0 (sgd) search 1 finalist seed 1500: failed" in shown
    assert "24 trials, 2 at once at most" in shown


def test_no_more_trials_have_ended_than_there_are_to_be(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    larger = replace(SMALL, finalists=4, seeds=2)
    folder.write_description(larger.describe("x"))
    engine = Engine(larger, folder, WaitingPlace())
    (row,) = engine.rows
    for number in range(5):
        best = {"outcome": "finished", "epochs": 2, "validation_accuracy": 0.5 + number / 10}
        row.restore(replace(row.config, lr=0.01 * (1 + number)), best)
    row.add_finalists()
    engine.sweep = replace(SMALL, trials=3, seeds=1)  # the sweep is continued with fewer
    assert (len(row.trials), len(row.finalist_runs)) == (5, 8)
    assert engine.count() == (5, 5 + 8 + 2)


def test_rows_that_are_not_run_now_are_not_expected(tmp_path: Path) -> None:
    sweep = replace(SMALL, rows=[{"optimizer": name} for name in ("sgd", "adam", "adamw")])
    sweep = replace(sweep, run_only=frozenset({1}))
    folder = SweepFolder(tmp_path)
    folder.write_description(sweep.describe("x"))
    assert Engine(sweep, folder, WaitingPlace()).count() == (0, 4)


def test_an_attempt_that_is_given_anew_waits_until_it_begins(tmp_path: Path) -> None:
    place, folder = WaitingPlace(), SweepFolder(tmp_path)
    folder.write_description(SMALL.describe("x"))
    look_at(Engine(SMALL, folder, place))
    trials = Engine(SMALL, folder, place).rows[0].trials
    with folder.run(trials[0].name).recorder(1):
        pass
    engine = Engine(SMALL, folder, place)  # another driver, whose place has not kept its workers
    progress = LivePanel(Console()).follow(engine)
    look_at(engine)
    assert progress.standing().counts["running"] == 0
    with folder.run(trials[0].name).recorder(2):
        look_at(engine)
    assert progress.standing().counts["running"] == 1


def test_a_panel_that_takes_long_is_made_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, folder = [1000.0], SweepFolder(tmp_path)
    folder.write_description(SMALL.describe("x"))
    progress = LivePanel(Console()).follow(Engine(SMALL, folder, WaitingPlace()))
    standing = progress.standing

    def look_for_a_second() -> Standing:
        now[0] += 1
        return standing()

    monkeypatch.setattr(progress, "standing", look_for_a_second)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    first = progress._panel()
    now[0] += 1 / live_panel.SHARE - 1
    assert progress._panel() is first
    now[0] += 2
    assert progress._panel() is not first
