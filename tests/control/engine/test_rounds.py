"""Deterministic sweeps: the same trials, decisions and winners, however many run at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, assume, given, seed, settings
from hypothesis import strategies as st
from ray import tune
from ray.tune.schedulers import TrialScheduler

from fieldtrial.control.engine.loop import SweepError
from fieldtrial.control.engine.ray_tune import SCORE, TIME, build_scheduler
from fieldtrial.control.engine.rounds import Named, RoundHalving, round_of
from fieldtrial.control.engine.row import NO_CONTROLLER, Row
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.control.engine.schedules import (
    ANY,
    FREE,
    KILLS,
    QUICK,
    in_new_folder,
    outcome,
    scripts,
    sweeps,
)
from tests.control.engine.virtual import Script, VirtualPlace, make_sweep, run_sweep


def trial(number: int) -> Named:
    return Named(f"0-{number}")


def result(trial: Named, epoch: int, score: float) -> dict[str, Any]:
    return {TIME: epoch, SCORE: score, "trial_id": trial.trial_id}


@pytest.mark.parametrize(
    ("random", "rounds"),
    [
        (1, [(0, 1), (1, 5), (1, 5), (1, 5), (1, 5), (5, 9)]),
        (4, [(0, 4), (0, 4), (0, 4), (0, 4), (4, 8)]),
        (10, [*[(0, 4)] * 4, *[(4, 8)] * 4, *[(8, 10)] * 2, *[(10, 14)] * 4, (14, 18)]),
    ],
)
def test_rounds_have_four_trials_and_do_not_mix_random_ones_with_others(
    random: int, rounds: list[tuple[int, int]]
) -> None:
    assert [round_of(number, random) for number in range(len(rounds))] == rounds


@settings(QUICK, max_examples=60)
@given(
    st.integers(1, 60),
    st.sampled_from(["max", "min"]),
    st.lists(st.lists(st.integers(0, 9), min_size=60, max_size=60), min_size=1, max_size=9),
)
def test_one_after_another_trials_stop_where_rays_scheduler_stops_them(
    epochs: int, mode: Any, curves: list[list[int]]
) -> None:
    ours, rays = RoundHalving(epochs, mode), build_scheduler(epochs, mode)
    for number, curve in enumerate(curves):
        one = trial(number)
        for scheduler in (ours, rays):
            scheduler.on_trial_add(NO_CONTROLLER, one)
        for epoch in range(1, epochs + 1):
            told = result(one, epoch, curve[epoch - 1])
            decision = rays.on_trial_result(NO_CONTROLLER, one, told)
            assert ours.on_trial_result(NO_CONTROLLER, one, told) == decision
            if decision == TrialScheduler.STOP:
                break
        ours.admit([one])


def test_a_trial_is_compared_neither_with_its_round_nor_with_what_failed() -> None:
    halving = RoundHalving(5, "max")
    good, failed, poor, later = map(trial, range(4))
    for one in (good, failed, poor, later):
        halving.on_trial_add(NO_CONTROLLER, one)
    for one, score in ((good, 0.9), (failed, 0.2), (poor, 0.1)):
        assert halving.on_trial_result(NO_CONTROLLER, one, result(one, 1, score)) == "CONTINUE"
    halving.on_trial_remove(NO_CONTROLLER, failed)
    halving.admit([good, failed])
    assert halving.on_trial_result(NO_CONTROLLER, later, result(later, 1, 0.5)) == "STOP"
    halving.admit([poor])
    assert halving.on_trial_result(NO_CONTROLLER, later, result(later, 1, 0.5)) == "CONTINUE"


@pytest.mark.parametrize(("stops", "shared"), [((2, 3, 2), 3), ((2, None, 3), None)])
def test_what_a_stopped_run_did_before_its_worker_saw_the_stop_is_not_used(
    stops: tuple[int | None, ...], shared: int | None
) -> None:
    """Such a run may have an epoch more than was decided, or not: that depends on timing."""
    sweep = make_sweep(trials=9, epochs=8, deterministic=True, search={"lr": tune.choice([0.01])})
    row = Row(sweep, 0)
    for stop in stops:
        first = row.propose()
        first.status, first.best, first.stopped_at = "done", 0.5, stop
    twin = row.propose()
    assert twin.name == first.name
    for epoch in range(9):
        twin.last_epoch = epoch
        if row.on_record(twin, {"epoch": epoch, "validation_accuracy": 0.9}):
            break
    assert twin.stopped_at == shared


Found = tuple[list[tuple[object, ...]], list[tuple[Any, ...]]]


def found(
    sweep: Sweep,
    scripts: Sequence[Script],
    slots: int,
    is_cluster: bool = True,
    kills: Sequence[int] = (),
) -> Found:
    """Return trials, decisions and winners, and what the folder lists, in any order."""

    def run(folder: SweepFolder) -> Found:
        place = VirtualPlace(folder, scripts, slots, is_cluster, kills)
        engine = run_sweep(sweep, place)
        listed = [tuple(entry.items()) for entry in folder.trials()]
        return outcome(engine), sorted(listed, key=repr)

    try:
        return in_new_folder(run)  # type: ignore[no-any-return]
    except SweepError:  # which trials have ended when a sweep is given up depends on timing
        assume(False)
        raise


def deterministic(sweep: Sweep) -> Sweep:
    return replace(sweep, deterministic=True)


def with_twins(sweep: Sweep) -> Sweep:
    """Return the sweep with a row that shares all its runs with another."""
    return deterministic(replace(sweep, rows=[*sweep.rows, sweep.rows[0]]))


def check_failures(sweep: Sweep, scripts: list[Script], slots: int) -> None:
    assert found(sweep, scripts, slots) == found(sweep, scripts, 1)


def check_restarts(
    sweep: Sweep, scripts: list[Script], slots: int, is_cluster: bool, kills: list[int]
) -> None:
    assert found(sweep, scripts, slots, is_cluster, kills) == found(sweep, scripts, 1)


SLOTS = st.integers(2, 4)
FEW = settings(QUICK, max_examples=15)
SHORT, LONG = 9, 15  # trials of a search
with_failures = given(sweeps(SHORT).map(deterministic), scripts(ANY), SLOTS)
with_restarts = given(
    sweeps(SHORT).map(with_twins), scripts(FREE), st.integers(1, 4), st.booleans(), KILLS
)


@FEW
@with_failures
def test_what_fails_and_diverges_changes_nothing_at_another_concurrency(
    sweep: Sweep, scripts: list[Script], slots: int
) -> None:
    check_failures(sweep, scripts, slots)


@FEW
@with_restarts
def test_trials_decisions_and_winners_are_the_same_at_any_concurrency(
    sweep: Sweep, scripts: list[Script], slots: int, is_cluster: bool, kills: list[int]
) -> None:
    check_restarts(sweep, scripts, slots, is_cluster, kills)


@pytest.mark.chaos
def test_thousands_of_schedules_give_what_one_slot_gives() -> None:
    thorough = settings(QUICK, max_examples=1500)
    thorough(with_failures(check_failures))()
    thorough(with_restarts(check_restarts))()


def tell_at_once(row: Row, trial: Trial) -> None:
    assert row._searcher
    row._searcher.call("on_trial_complete", trial.trial_id, result={SCORE: trial.best})


def compare_at_once(halving: RoundHalving, _: object, trial: Named, result: dict[str, Any]) -> str:
    decision = on_trial_result(halving, NO_CONTROLLER, trial, result)
    halving.admit([trial])
    return decision


def without_rounds(row: Row) -> int:
    return row.budget - len(row.trials)


on_trial_result = RoundHalving.on_trial_result
PLANTED: list[tuple[type, str, object]] = [
    (Row, "on_done", tell_at_once),
    (Row, "proposable", property(without_rounds)),
    (RoundHalving, "on_trial_result", compare_at_once),
]


@pytest.mark.parametrize(("where", "name", "fault"), PLANTED)
def test_a_search_that_knows_more_than_earlier_rounds_is_found(
    where: type, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    @seed(0)
    @settings(QUICK, max_examples=150, phases=[Phase.generate], print_blob=False)
    @given(sweeps(LONG).map(deterministic), scripts(FREE), SLOTS)
    def search(sweep: Sweep, scripts: list[Script], slots: int) -> None:
        check_failures(sweep, scripts, slots)

    monkeypatch.setattr(where, name, fault)
    with pytest.raises(AssertionError):
        search()


def test_without_rounds_further_slots_give_other_trials() -> None:
    @seed(0)
    @settings(QUICK, max_examples=150, phases=[Phase.generate], print_blob=False)
    @given(sweeps(SHORT), scripts(FREE), SLOTS)
    def search(sweep: Sweep, scripts: list[Script], slots: int) -> None:
        check_failures(replace(sweep, deterministic=False), scripts, slots)

    with pytest.raises(AssertionError):
        search()


def test_a_lost_state_is_found_again_and_nothing_runs_twice() -> None:
    mixed = [Script(quality=number, diverges_at=2 if number == 6 else None) for number in range(8)]
    sweep = make_sweep(trials=14, epochs=8, seeds=2, finalists=3, searches=2, deterministic=True)

    def run(folder: SweepFolder) -> None:
        first = run_sweep(sweep, VirtualPlace(folder, mixed, slots=3))
        before = outcome(first)
        epochs = {t.name: len(folder.run(t.name).records()) for t in first.trials()}
        folder.state_path.unlink()
        again = run_sweep(sweep, VirtualPlace(folder, mixed, slots=1))
        assert outcome(again) == before
        assert {t.name: len(folder.run(t.name).records()) for t in again.trials()} == epochs

    in_new_folder(run)


def test_a_larger_budget_continues_the_last_round() -> None:
    mixed = [Script(quality=number) for number in range(8)]
    long = make_sweep(trials=14, epochs=4, deterministic=True)
    short = replace(long, trials=12)  # as many random trials, and half a round less

    def run(folder: SweepFolder) -> object:
        run_sweep(short, VirtualPlace(folder, mixed, slots=2))
        return outcome(run_sweep(long, VirtualPlace(folder, mixed, slots=3)))

    assert in_new_folder(run) == found(long, mixed, slots=1)[0]


def test_a_failed_trial_that_runs_again_is_told_with_the_next_round() -> None:
    sweep = make_sweep(trials=9, epochs=2, deterministic=True)  # rounds of 3, 4 and 2
    failing, good = ([Script(quality=5, faults={1: faults})] * 8 for faults in (("error",), ()))

    def run(folder: SweepFolder) -> None:
        (row,) = run_sweep(sweep, VirtualPlace(folder, failing)).rows
        failed = [one for one in row.trials if one.status == "failed"]
        early = [one for one in failed if one in row.trials[:7]]
        assert early
        assert early != failed, "one failed in the last round, which nobody was told of"
        place = VirtualPlace(folder, good)
        run_sweep(sweep, place, retry=True)
        (row,) = run_sweep(replace(sweep, trials=12), place).rows
        told = row._searcher.searcher.told  # type: ignore[union-attr]
        for one in failed:
            assert ((one.trial_id, "end", True) in told) == (one in early)
        points = [rate for name, rate, _ in told if name == "point"]
        assert points == [one.config.lr for one in early]
        assert all(one.status == "done" for one in row.trials)

    in_new_folder(run)
