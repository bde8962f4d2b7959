"""What becomes of trials that end: decisions count, not who was quicker."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine, SweepError
from fieldtrial.control.engine.outcomes import MOST_INTERRUPTIONS, cut_batches, stopped_result
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.places.interface import Ended, Task
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.results.cells import own_table


class ScriptedPlace:
    """One slot, whose trials do in an instant what `ends` says, one entry an attempt; then all
    epochs.

    An entry is how the attempt ends, and after how many further epochs. With `hears`, a stop file
    is heard.
    """

    slots = processes = 1

    def __init__(self, *ends: tuple[int, dict[str, Any]], hears: bool = False) -> None:
        self.ends, self.hears, self.tasks = list(ends), hears, list[Task]()
        self.backlog = None

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
            return [Ended(task, **end)]
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
    run.write_result(
        {"outcome": outcome, "epochs": last["epoch"], "minutes": 1.0, "attempt": attempt, **scores}
    )


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


def test_a_trial_that_ended_before_it_heard_that_it_was_to_stop_counts_as_stopped(
    tmp_path: Path,
) -> None:
    quick, slow = tmp_path / "a" / "quick", tmp_path / "b" / "slow"
    engines = [
        run_sweep(quick, ScriptedPlace(), trials=8),
        run_sweep(slow, ScriptedPlace(hears=True), trials=8),
    ]
    decided = [{t.name: t.stopped_at for t in engine.trials()} for engine in engines]
    assert decided[0] == decided[1]
    assert 1 <= sum(epoch is not None for epoch in decided[0].values()) < 8
    for engine in engines:
        for trial in engine.trials():
            result = engine.folder.run(trial.name).result() or {}
            assert result["outcome"] == ("finished" if trial.stopped_at is None else "stopped")
    counts = [
        own_table(SweepFolder(path)).frame["search_stopped_early"].tolist()
        for path in (quick, slow)
    ]
    assert counts[0] == counts[1]
    assert (
        len(Run(quick / next(n for n, e in decided[0].items() if e is not None)).records()) == 9
    ), "it was quicker"


def test_a_stopped_twin_does_not_unmake_a_finished_trial(tmp_path: Path) -> None:
    search = {"lr": tune.choice([1e-3, 2e-3, 1e-4])}
    engine = run_sweep(tmp_path, ScriptedPlace(), trials=12, search=search)
    finished = {trial.name for trial in engine.trials() if trial.stopped_at is None}
    assert finished & {trial.name for trial in engine.trials() if trial.stopped_at is not None}, (
        "one of each kind"
    )
    for name in finished:
        assert (engine.folder.run(name).result() or {})["outcome"] == "finished"


def test_what_a_stopped_trial_would_have_gone_on_from_goes_with_its_worker(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(epochs=8))
    write(run, 1, 0, 5)
    write_atomically(run.checkpoint_path(5), b"")
    trial = Trial("0-0", "search", 0, run.config(), attempt=1, stopped_at=4)
    assert stopped_result(run, trial)["epochs"] == 4
    assert run.checkpoints() == []


@pytest.mark.parametrize(("processes", "parts"), [(1, [2, 4, 8, 12]), (2, [2, 4, 6]), (5, [2, 3])])
def test_batches_are_cut_until_each_process_has_one_image_at_a_time(
    processes: int, parts: list[int]
) -> None:
    trial = Trial("0-0", "search", 0, TrainConfig(batch_size=12))
    seen = []
    while cut_batches(trial, processes):
        seen.append(trial.accumulate)
    assert seen == parts


TIMEOUT: dict[str, Any] = {"death": "its job 7 is gone (TIMEOUT, on n1)", "cause": "time limit"}
PREEMPTION: dict[str, Any] = {
    "death": "its job 7 is gone (PREEMPTED, on n1)",
    "cause": "interruption",
}
DEATH: dict[str, Any] = {"death": "its worker exited with status 1"}


def test_what_is_not_the_trials_fault_is_free(tmp_path: Path) -> None:
    script = [
        (2, DEATH),
        *[(0, PREEMPTION)] * 9,
        (0, TIMEOUT),
        (0, DEATH),
        (0, TIMEOUT),
        (0, PREEMPTION),
    ]
    engine = run_sweep(tmp_path, ScriptedPlace(*script), trials=1)
    (trial,) = engine.trials()
    assert (trial.status, trial.attempt) == ("done", len(script) + 1)
    assert [record["epoch"] for record in engine.folder.run(trial.name).records()] == list(range(9))


def test_another_epoch_makes_up_for_all_deaths(tmp_path: Path) -> None:
    script = [
        (0, DEATH),
        (0, DEATH),
        (0, TIMEOUT),
        (0, TIMEOUT),
        (2, DEATH),
        (0, DEATH),
        (1, TIMEOUT),
        (0, TIMEOUT),
    ]
    (trial,) = run_sweep(tmp_path, ScriptedPlace(*script), trials=1).trials()
    assert (trial.status, trial.deaths, trial.time_limits, trial.interruptions) == ("done", 0, 0, 0)


def test_an_epoch_that_never_fits_into_a_job_fails_its_trial(tmp_path: Path) -> None:
    (trial,) = run_sweep(tmp_path, ScriptedPlace(*[(0, TIMEOUT)] * 3), trials=1).trials()
    assert (
        trial.problem
        == "died: 3 jobs in a row reached their time limit without another epoch, which must fit"
        " into it; the last time its job 7 is gone (TIMEOUT, on n1)"
    )
    assert trial.status == "failed"


def test_a_trial_that_only_gets_interrupted_is_given_up(tmp_path: Path) -> None:
    (trial,) = run_sweep(
        tmp_path, ScriptedPlace(*[(0, PREEMPTION)] * MOST_INTERRUPTIONS), trials=1
    ).trials()
    assert (trial.status, trial.attempt) == ("failed", MOST_INTERRUPTIONS)
    assert "30 times interrupted without another epoch" in (trial.problem or "")


def test_too_many_failures_stop_the_sweep_and_are_counted_in_the_table(tmp_path: Path) -> None:
    script: list[tuple[int, dict[str, Any]]] = [
        (9, {"error": ("error", "planted")}),
        (0, {"error": ("diverged", "nan")}),
        *((1, {"error": ("error", f"planted {number}")}) for number in range(3)),
    ]
    place = ScriptedPlace(*script)
    with pytest.raises(
        SweepError,
        match=r"^more than 2 trials failed; .*--max-failures N; one of them:\nerror: planted 1\n",
    ):
        run_sweep(tmp_path, place, trials=8, max_failures=2)
    assert [number for number, _ in place.ends] == [1], "the sweep stopped before the last"
    with pytest.raises(SweepError, match="more than 2"):
        run_sweep(tmp_path, place, trials=8, max_failures=2)
    engine = run_sweep(tmp_path, place, trials=8, max_failures=4)
    assert [trial.status for trial in engine.trials()].count("failed") == 5
    for trial in engine.trials():
        if trial.status == "failed" and not trial.diverged:
            engine.folder.run(trial.name).write_error("error", "planted", 1)
    line = "4 trials failed, not counting diverged ones; the sweep stops after 4."
    assert line in own_table(SweepFolder(tmp_path)).grid.footer
