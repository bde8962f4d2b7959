"""What becomes of trials that end: decisions count, not who was quicker."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine import Engine
from fieldtrial.control.place import Ended, Task
from fieldtrial.control.sweep import Sweep
from fieldtrial.results.summary import summarise
from fieldtrial.run import Run, SweepFolder


class ScriptedPlace:
    """One slot, whose trials do in an instant what `ends` says, one entry an attempt; then all epochs.

    An entry is how the attempt ends, and after how many further epochs. With `hears`, a stop file is heard.
    """

    slots = 1

    def __init__(self, *ends: tuple[int, Ended], hears: bool = False) -> None:
        self.ends, self.hears, self.tasks = list(ends), hears, list[Task]()

    def adopt(self, _tasks: Iterable[Task]) -> list[Task]:
        return []

    def start(self, task: Task) -> None:
        self.tasks.append(task)

    def wait(self, _seconds: float, more: int = 0) -> list[Ended]:
        assert more >= 0
        if not self.tasks:
            return []
        task = self.tasks[-1]
        done = max((record["epoch"] for record in task.run.records()), default=-1)
        last = task.run.config().epochs
        if self.ends:
            further, end = self.ends.pop(0)
            write(task.run, task.attempt, done + 1, done + further)
            self.tasks.pop()
            return [replace(end, task=task)]
        if self.hears and not task.run.stop_requested() and done < last:
            write(task.run, task.attempt, done + 1, done + 1)
            return []
        if not self.hears:
            write(task.run, task.attempt, done + 1, last)
            done = last
        conclude(task.run, "finished" if done == last else "stopped", task.attempt)
        self.tasks.pop()
        return [Ended(task)]

    def stop(self, _task: Task) -> None:
        pass

    def dump(self, _task: Task) -> bool:
        return False

    def kill(self, _task: Task) -> None:
        pass

    def close(self, detach: bool = False) -> None:
        pass


def write(run: Run, attempt: int, first: int, last: int) -> None:
    peak = 1 - abs(math.log10(run.config().lr) + 3) / 4
    with run.recorder(attempt) as recorder:
        for epoch in range(first, last + 1):
            accuracy = peak * (1 - 0.5**epoch)
            scores = {"validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
            recorder.write({"epoch": epoch, "seconds": 1.0, "best_epoch": epoch, **scores})


def conclude(run: Run, outcome: str, attempt: int) -> None:
    last = run.records()[-1]
    scores = {name: last[name] for name in ("validation_accuracy", "validation_loss", "best_epoch")}
    run.write_result({"outcome": outcome, "epochs": last["epoch"], "minutes": 1.0, "attempt": attempt, **scores})


def run_sweep(path: Path, place: ScriptedPlace, **fields: Any) -> Engine:
    search = {"lr": tune.loguniform(1e-5, 1e-1)}
    asked: dict[str, Any] = {
        "base": TrainConfig(epochs=8),
        "rows": [{"optimizer": "sgd"}],
        "search": search,
        "seeds": 0,
    }
    sweep = Sweep(**asked | fields)
    folder = SweepFolder(path)
    folder.describe(sweep.describe("test"))
    engine = Engine(sweep, folder, place)
    engine.run()
    return engine


def test_a_trial_that_ended_before_it_heard_that_it_was_to_stop_counts_as_stopped(tmp_path: Path) -> None:
    quick, slow = tmp_path / "a" / "quick", tmp_path / "b" / "slow"
    engines = [run_sweep(quick, ScriptedPlace(), trials=8), run_sweep(slow, ScriptedPlace(hears=True), trials=8)]
    decided = [{t.name: t.stopped_at for t in engine.trials()} for engine in engines]
    assert decided[0] == decided[1]
    assert 1 <= sum(epoch is not None for epoch in decided[0].values()) < 8
    for engine in engines:
        for trial in engine.trials():
            result = engine.folder.run(trial.name).result() or {}
            assert result["outcome"] == ("finished" if trial.stopped_at is None else "stopped")
    counts = [summarise(SweepFolder(path)).rows["search_stopped_early"].tolist() for path in (quick, slow)]
    assert counts[0] == counts[1]
    assert len(Run(quick / next(n for n, e in decided[0].items() if e is not None)).records()) == 9, "it was quicker"


def test_a_stopped_twin_does_not_unmake_a_finished_trial(tmp_path: Path) -> None:
    search = {"lr": tune.choice([1e-3, 2e-3, 1e-4])}
    engine = run_sweep(tmp_path, ScriptedPlace(), trials=12, search=search)
    finished = {trial.name for trial in engine.trials() if trial.stopped_at is None}
    assert finished & {trial.name for trial in engine.trials() if trial.stopped_at is not None}, "one of each kind"
    for name in finished:
        assert (engine.folder.run(name).result() or {})["outcome"] == "finished"
