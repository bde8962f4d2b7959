"""What a trial costs the engine does not grow with the sweep: counted in calls, not in seconds."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import pytest

from fieldtrial.control.engine import loop
from fieldtrial.control.engine import row as row_module
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trials import Trials
from fieldtrial.control.places.interface import Ended
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task
from tests.control.engine.virtual import make_sweep

ENGINE = str(Path(loop.__file__).parent)
MOST_GROWTH = 1.1  # of the calls for a trial, in a sweep of four times as many


class Constant:
    """A searcher that proposes rates in turn, and whose own cost is nothing."""

    def __init__(self) -> None:
        self._count = 0

    def suggest(self, _trial_id: str) -> dict[str, Any]:
        self._count += 1
        return {"lr": 0.001 + 0.000001 * self._count}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        pass

    def on_trial_complete(self, trial_id: str, **_: Any) -> None:
        pass


class QuickPlace:
    """A place whose trials have ended when they are looked at, one at a time."""

    slots = 4
    together = 1
    processes = 1
    backlog = None

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        return []

    def start(self, task: Task) -> None:
        self._tasks.append(task)

    def wait(self, _seconds: float, more: int = 0) -> list[Ended]:
        task, run = self._tasks[0], self._tasks.pop(0).open_run()
        scores = {"validation_accuracy": 0.5, "validation_loss": 0.5, "best_epoch": 1}
        with run.recorder(task.attempt) as recorder:
            for epoch in (0, 1):
                recorder.write({"epoch": epoch, "seconds": 1.0, **scores})
        run.write_result({"outcome": "finished", "epochs": 1, "attempt": 1, **scores})
        return [Ended(task)] if more >= 0 else []

    def stop(self, _task: Task) -> None:
        raise AssertionError

    dump = kill = close = stop


def calls_per_trial(path: Path, rows: int, trials: int) -> float:
    """Return how often functions of the engine are called for each trial of a sweep."""
    sweep = make_sweep(
        rows=[{"batch_size": 8 + number} for number in range(rows)],
        trials=trials,
        seeds=1,
        epochs=1,
    )
    folder, count = SweepFolder(path), 0
    folder.write_description(sweep.describe(folder.name))

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(ENGINE)

    with mock.patch.object(row_module, "build_searcher", lambda *_: Constant()):  # noqa: PT008
        engine = Engine(sweep, folder, QuickPlace())  # type: ignore[arg-type]
        sys.setprofile(profile)
        try:
            engine.run()
        finally:
            sys.setprofile(None)
    assert {trial.status for trial in engine.trials()} == {"done"}
    return count / (rows * (trials + 1))


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def growth(path: Path) -> list[float]:
    """Return by what factor a trial costs more with four times as many in each row, or rows."""
    few = calls_per_trial(path / "few", 3, 20)
    more = [calls_per_trial(path / f"{rows}", rows, trials) for rows, trials in ((3, 83), (12, 20))]
    return [each / few for each in more]


def test_a_trial_costs_the_same_in_a_larger_sweep(tmp_path: Path) -> None:
    assert max(growth(tmp_path)) < MOST_GROWTH


def look_at_all(self: Trials) -> bool:
    return not any(trial.live for trial in self)


def test_a_look_at_all_trials_before_each_start_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trials, "count_to_come", look_at_all)
    assert min(growth(tmp_path)) > MOST_GROWTH
