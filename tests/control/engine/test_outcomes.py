"""What becomes of trials that end: the engine's decisions count, not the timing."""

from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.loop import Engine, SweepError
from fieldtrial.control.engine.outcomes import (
    Tally,
    describe_failure,
    own_code_advice,
    raise_accumulation,
    reason_to_give_up,
    stopped_result,
)
from fieldtrial.control.engine.trial import Trial
from fieldtrial.control.running.deaths import MOST_INTERRUPTIONS
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep, run_sweep
from tests.results.cells import own_table

QUALITIES = (9, 3, 7, 1, 5, 2, 8, 4)


def run(path: Path, *scripts: Script, retry: bool = False, **fields: Any) -> Engine:
    """Run a sweep, each of whose configurations does what its own script says, or the last one."""
    filled = [*scripts, *[scripts[-1]] * len(RATES)][: len(RATES)]
    return run_sweep(make_sweep(**fields), VirtualPlace(SweepFolder(path), filled), retry)


def test_a_trial_that_finished_before_it_found_that_it_was_to_stop_counts_as_stopped(
    tmp_path: Path,
) -> None:
    folders = {is_deaf: tmp_path / f"{is_deaf}" / "sweep" for is_deaf in (True, False)}
    engines = []
    for is_deaf, folder in folders.items():
        scripts = [Script(quality=quality, is_deaf=is_deaf) for quality in QUALITIES]
        engines.append(run(folder, *scripts, epochs=8, trials=8))
    deaf, hearing = ({t.trial_id: t.stopped_at for t in one.trials()} for one in engines)
    assert deaf == hearing
    assert 1 <= sum(epoch is not None for epoch in deaf.values()) < 8
    for engine in engines:
        for trial in engine.trials():
            twins = [other for other in engine.trials() if other.name == trial.name]
            finished = any(twin.stopped_at is None for twin in twins)
            result = engine.folder.run(trial.name).result() or {}
            assert result["outcome"] == ("finished" if finished else "stopped")
    counts = [
        own_table(SweepFolder(path)).frame["search_stopped_early"].tolist()
        for path in folders.values()
    ]
    assert counts[0] == counts[1]
    stopped = next(t.name for t in engines[0].trials() if t.stopped_at is not None)
    assert len(Run(folders[True] / stopped).records()) == 9, "it finished"


def test_a_stopped_twin_does_not_unmake_a_finished_trial(tmp_path: Path) -> None:
    scripts = [Script(quality=quality) for quality in QUALITIES]
    engine = run(tmp_path, *scripts, epochs=8, trials=30)
    finished = {trial.name for trial in engine.trials() if trial.stopped_at is None}
    stopped = {trial.name for trial in engine.trials() if trial.stopped_at is not None}
    assert finished & stopped, "one of each kind"
    for name in finished:
        assert (engine.folder.run(name).result() or {})["outcome"] == "finished"


def test_the_checkpoints_of_a_stopped_trial_are_removed_although_its_worker_died(
    tmp_path: Path,
) -> None:
    run = Run.create(tmp_path / "run", TrainConfig(epochs=8))
    with run.recorder(1) as recorder:
        for epoch in range(6):
            scores = {"validation_accuracy": epoch / 10, "validation_loss": 1.0}
            held = {"held_seconds": 60.0 + epoch, "alone_seconds": 90.0 + epoch}
            recorder.write({"epoch": epoch, "seconds": 1.0, "best_epoch": epoch, **scores, **held})
    write_atomically(run.checkpoint_path(5), b"")
    trial = Trial("0-0", "search", 0, run.config(), attempt=1, stopped_at=4)
    result = stopped_result(run, trial)
    assert result["epochs"] == 4
    times = [60 * result[name] for name in ("minutes", "minutes_alone", "epoch_minutes")]
    assert times == pytest.approx([65, 94, 5])
    assert run.checkpoints() == []


def test_a_trial_is_charged_for_each_attempt_that_held_devices() -> None:
    trial = Trial("0-0", "search", 0, TrainConfig(), attempt=1)
    told = ((1, 0, 30.0), (1, 1, 40.0), (2, 1, 12.0), (2, 2, 22.0))
    for attempt, epoch, held in told:
        trial.charge({"attempt": attempt, "epoch": epoch, "seconds": 9.0, "held_seconds": held})
        trial.last_epoch = epoch
    assert trial.seconds == 40 + 22
    for attempt, epoch, held in (*told, (3, 3, 4.0)):  # told again to the next driver, and more
        trial.charge({"attempt": attempt, "epoch": epoch, "seconds": 9.0, "held_seconds": held})
    assert trial.seconds == 40 + 22 + 4
    trial.seconds = 40 + 22
    for epoch in (2, 3):  # of an older worker; the first is a repetition
        trial.charge({"attempt": 3, "epoch": epoch, "seconds": 9.0})
    assert trial.seconds == 40 + 22 + 9


@pytest.mark.parametrize(
    ("problems", "reason"),
    [
        (["error: a", "error: a"], None),
        (["error: a", "error: a", "error: a"], "the first 3 trials failed with the same error"),
        (["error: a", "error: a", "error: b"], None),
        (["diverged: a", "diverged: a", "diverged: a"], None),
        (["error: a", "error: a", "error: a", None], None),
        ([None, "error: a", "error: b", "diverged: a"], None),
        ([None, "error: a", "error: b", "error: a", "error: a"], "more than 3 trials failed"),
    ],
)
def test_a_sweep_stops_for_one_reason_or_for_many_failures(
    problems: list[str | None], reason: str | None
) -> None:
    tally = Tally()
    trials = [Trial(f"0-{n}", "search", 0, TrainConfig()) for n in range(len(problems))]
    for trial, problem in zip(trials, problems, strict=True):
        tally.settle(trial)
        assert tally.ended == sum(not one.live for one in trials)
        trial.problem, trial.status = problem, "failed" if problem else "done"
        tally.settle(trial)
    found = reason_to_give_up(tally, trials, most=3)
    assert (found and found[0].startswith(reason or "")) == (True if reason else None)
    for trial in trials:  # they run again
        trial.status, trial.problem = "waiting", None
        tally.settle(trial)
    assert (tally.ended, tally.faults, tally.all_failed_alike) == (0, 0, False)


def test_who_has_results_of_own_code_is_not_advised_to_change_it() -> None:
    own, other = TrainConfig(loss="odd:loss"), TrainConfig(loss="even:loss")
    failed = Trial("0-0", "search", 0, own, status="failed", problem="error: a")
    for done, is_said in ((own, True), (other, False), (TrainConfig(), False)):
        ended = [Trial("0-1", "search", 0, done, status="done"), failed]
        assert ("your own code" in own_code_advice(failed, ended)) is is_said
        text, _ = reason_to_give_up(tally_of(ended), ended, most=0) or ("", None)
        assert ("start another sweep with --name" in text) is is_said


def test_a_failure_of_own_code_is_told_without_a_traceback(tmp_path: Path) -> None:
    trial = Trial("0-0", "search", 0, TrainConfig(), problem="error: loss = 'a:b': failed")
    for details, is_shown in (("fieldtrial.own.errors.OwnCodeError: loss", False), ("Boom", True)):
        run = Run.create(tmp_path / trial.name, trial.config)
        run.write_error("error", "loss = 'a:b': failed", 1, details)
        assert (details in describe_failure(trial, run)) is is_shown


def tally_of(trials: list[Trial]) -> Tally:
    tally = Tally()
    for trial in trials:
        tally.settle(trial)
    return tally


@pytest.mark.parametrize(("processes", "parts"), [(1, [2, 4, 8, 12]), (2, [2, 4, 6]), (5, [2, 3])])
def test_accumulation_is_raised_until_micro_batches_are_single_images(
    processes: int, parts: list[int]
) -> None:
    trial = Trial("0-0", "search", 0, TrainConfig(batch_size=12))
    seen = []
    while raise_accumulation(trial, processes):
        seen.append(trial.accumulate)
    assert seen == parts


def test_a_trial_that_never_fits_into_memory_fails(tmp_path: Path) -> None:
    (trial,) = run(tmp_path, Script(memory=16), trials=1).trials()
    assert (trial.status, trial.attempt, trial.accumulate) == ("failed", 4, 8)
    assert trial.problem == f"memory: no memory for {trial.name}"


def test_deaths_that_are_not_the_trials_fault_are_free(tmp_path: Path) -> None:
    faults = (*["interruption"] * 9, "time limit", "death", "time limit", "interruption")
    engine = run(tmp_path, Script(faults={1: ("death",), 3: faults}), trials=1, epochs=8)
    (trial,) = engine.trials()
    assert (trial.status, trial.attempt) == ("done", len(faults) + 2)
    assert [record["epoch"] for record in engine.folder.run(trial.name).records()] == list(range(9))


def test_a_completed_epoch_resets_all_counts(tmp_path: Path) -> None:
    faults = {1: ("death", "death", "time limit", "time limit"), 3: ("death", "death")}
    faults |= {4: ("time limit", "time limit")}
    (trial,) = run(tmp_path, Script(faults=faults), trials=1, epochs=8).trials()
    assert (trial.status, trial.deaths, trial.time_limits, trial.interruptions) == ("done", 0, 0, 0)


def test_an_epoch_that_never_fits_into_a_job_fails_its_trial(tmp_path: Path) -> None:
    (trial,) = run(tmp_path, Script(faults={1: ("time limit",) * 3}), trials=1).trials()
    assert trial.problem == (
        "died: 3 jobs in a row reached their time limit without completing an epoch; an epoch must"
        f" fit into a job's time_limit_minutes; the last time time limit of {trial.name}"
    )
    assert trial.status == "failed"


def test_a_trial_that_only_gets_interrupted_is_given_up(tmp_path: Path) -> None:
    faults = {1: ("interruption",) * MOST_INTERRUPTIONS}
    (trial,) = run(tmp_path, Script(faults=faults), trials=1).trials()
    assert (trial.status, trial.attempt) == ("failed", MOST_INTERRUPTIONS)
    assert "interrupted 30 times without completing an epoch" in (trial.problem or "")


def test_too_many_failures_stop_the_sweep_and_are_counted_in_the_table(tmp_path: Path) -> None:
    scripts = [Script(faults={2: ("error",)}), Script(diverges_at=1)]
    scripts += [Script(faults={1: (f"planted {number}",)}) for number in range(3)]
    rows = [{"lr": rate} for rate in RATES]
    asked = {"rows": rows, "search": {}}
    place = VirtualPlace(SweepFolder(tmp_path), [*scripts, *[Script()] * 3])
    message = r"^more than 2 trials failed; .*--max-failures N; one of them:\nerror: planted 1\n"
    with pytest.raises(SweepError, match=message):
        run_sweep(make_sweep(**asked, max_failures=2), place)
    assert len(place.started) == 4, "the sweep stopped before the last error"
    with pytest.raises(SweepError, match="more than 2"):
        run_sweep(make_sweep(**asked, max_failures=2), place)
    engine = run_sweep(make_sweep(**asked, max_failures=4), place)
    assert [trial.status for trial in engine.trials()].count("failed") == 5
    line = "4 trials failed, not counting diverged ones; the sweep stops after 4."
    assert line in own_table(SweepFolder(tmp_path)).grid.footer
