"""The engine in virtual time: whatever happens to workers and drivers, the result is right."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fieldtrial.control.engine.loop import Engine, SweepError
from fieldtrial.control.engine.outcomes import (
    MOST_DEATHS,
    MOST_INTERRUPTIONS,
    same_first_error,
)
from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep, run_sweep

FAULTS = ("death", "time limit", "hang", "interruption", "requeue", "outage")


@pytest.fixture(autouse=True, scope="module")
def _no_waits_for_disks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


def is_free(kinds: tuple[str, ...]) -> bool:
    """Return whether no trial is given up for these faults, though it completes no epoch."""
    return max(kinds.count("death") + kinds.count("hang"), kinds.count("time limit")) < MOST_DEATHS


# The faults before one epoch: those that are free, and any.
FREE = st.lists(st.sampled_from(FAULTS), max_size=4).map(tuple).filter(is_free)
ANY = st.one_of(
    st.lists(st.sampled_from((*FAULTS, "error")), max_size=4).map(tuple),
    st.just(("interruption",) * MOST_INTERRUPTIONS),
)


def scripts(faults: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[list[Script]]:
    one = st.builds(
        Script,
        quality=st.integers(0, 10),
        seconds=st.sampled_from([0.05, 1.0, 30.0]),
        faults=st.dictionaries(st.integers(0, 6), faults, max_size=2),
        diverges_at=st.sampled_from([None, None, None, 1, 3]),
        memory=st.sampled_from([1, 1, 1, 2, 8, 16]),
        repeats=st.integers(0, 1),
        is_deaf=st.booleans(),
        report_seconds=st.sampled_from([0.0, 2.0]),
    )
    return st.lists(one, min_size=len(RATES), max_size=len(RATES))


def sweeps() -> st.SearchStrategy[Sweep]:
    rows = [{"optimizer": "sgd"}, {"optimizer": "adam"}, {"optimizer": "adamw"}]
    return st.builds(
        make_sweep,
        rows=st.integers(1, 3).map(lambda count: rows[:count]),
        epochs=st.integers(1, 6),
        trials=st.integers(1, 5),
        seeds=st.integers(0, 2),
        source=st.sampled_from([None, None, {"lr": RATES[-1]}]),
    )


KILLS = st.lists(st.integers(0, 60), max_size=4)


def in_new_folder(run: Callable[[SweepFolder], Any]) -> Any:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as path:
        return run(SweepFolder(Path(path) / "sweep"))


def assert_told_once(row: Row) -> None:
    """Each epoch and each end of a trial was told to the searcher once, in order."""
    assert row._searcher
    told: list[tuple[Any, ...]] = row._searcher.told
    for trial in row.trials:
        own = [what for name, what, _ in told if name == trial.trial_id]
        assert own == [*range(1, len(own)), "end"], own
        if trial.status == "done":
            stopped_at = trial.stopped_at
            assert len(own) - 1 == (trial.last_epoch if stopped_at is None else stopped_at)
    assert len(told) == sum(name in {t.trial_id for t in row.trials} for name, *_ in told)


def assert_sound(engine: Engine, place: VirtualPlace) -> None:
    """Every row has its winner or a reason, the budget was kept, and results are as decided."""
    winners = [one for one in place.folder.trials() if one["role"] == "winner"]
    for row in engine.rows:
        if row.source and engine.sources[row.source].status == "failed":
            assert row.trials == []
            continue
        assert len(row.trials) == row.budget
        winner = row.winner()
        assert winner or all(t.status == "failed" and t.problem for t in row.trials)
        assert len(row.finals or []) == (row.seeds if winner else 0)
        listed = {"trial": winner.name if winner else None, "row": row.number, "role": "winner"}
        assert winners.count(listed) == 1
        assert_told_once(row)
    for trial in engine.trials():
        assert not trial.live
        result = place.folder.run(trial.name).result()
        if trial.status == "done":
            assert result
        if trial.stopped_at is not None:
            assert result
            twins = [other for other in engine.trials() if other.name == trial.name]
            assert result["outcome"] == "stopped" or any(t.stopped_at is None for t in twins)
    names = Counter(one["trial"] for one in place.folder.trials() if one["role"] == "search")
    assert names.keys() == {t.name for row in engine.rows for t in row.trials}


def outcome(engine: Engine) -> list[tuple[object, ...]]:
    """Return what must not depend on interruptions."""
    of_trials = [(t.trial_id, t.name, t.status, t.stopped_at, t.best) for t in engine.trials()]
    winners: list[Trial | None] = [row.winner() for row in engine.rows]
    told = [row._searcher.told for row in engine.rows]  # type: ignore[union-attr]
    return [*of_trials, *((w and w.trial_id,) for w in winners), *map(tuple, told)]


def check_any_schedule(
    sweep: Sweep, scripts: list[Script], slots: int, is_cluster: bool, kills: list[int]
) -> None:
    def run(folder: SweepFolder) -> None:
        place = VirtualPlace(folder, scripts, slots, is_cluster, kills)
        try:
            assert_sound(run_sweep(sweep, place), place)
        except SweepError:
            assert place.engine
            assert same_first_error([t for t in place.engine.trials() if not t.live])

    in_new_folder(run)


def check_restarts(sweep: Sweep, scripts: list[Script], is_cluster: bool, kills: list[int]) -> None:
    def run(kills: list[int]) -> Callable[[SweepFolder], object]:
        def in_folder(folder: SweepFolder) -> object:
            place = VirtualPlace(folder, scripts, 1, is_cluster, kills)
            try:
                return outcome(run_sweep(sweep, place)), place.folder.trials()
            except SweepError as error:
                return str(error).splitlines()[0]

        return in_folder

    assert in_new_folder(run(kills)) == in_new_folder(run([]))


QUICK = settings(
    max_examples=150, suppress_health_check=list(HealthCheck), database=None, deadline=None
)


@QUICK
@given(sweeps(), scripts(ANY), st.integers(1, 3), st.booleans(), KILLS)
def test_any_schedule_gives_each_row_its_winner_or_a_reason(
    sweep: Sweep, scripts: list[Script], slots: int, is_cluster: bool, kills: list[int]
) -> None:
    check_any_schedule(sweep, scripts, slots, is_cluster, kills)


@QUICK
@given(sweeps(), scripts(FREE), st.booleans(), KILLS)
def test_restarts_change_no_trial_no_decision_and_no_winner(
    sweep: Sweep, scripts: list[Script], is_cluster: bool, kills: list[int]
) -> None:
    check_restarts(sweep, scripts, is_cluster, kills)


@pytest.mark.chaos
def test_thousands_of_schedules_keep_both_properties() -> None:
    thorough = settings(QUICK, max_examples=3000)
    schedules = given(sweeps(), scripts(ANY), st.integers(1, 3), st.booleans(), KILLS)
    restarts = given(sweeps(), scripts(FREE), st.booleans(), KILLS)
    thorough(schedules(check_any_schedule))()
    thorough(restarts(check_restarts))()


def tell_twice(engine: Engine, trial: Trial, record: dict[str, Any]) -> None:
    told = trial.last_epoch
    on_record(engine, trial, record)
    trial.last_epoch = told
    on_record(engine, trial, record)


def forget_a_stop(engine: Engine) -> None:
    engine._to_stop = []


def save_too_late(_engine: Engine) -> None:
    pass


def lose_deaths(_engine: Engine, trial: Trial, *_: object) -> None:
    trial.status = "done"


def decide_again(row: Row, trial: Trial, record: dict[str, Any]) -> bool:
    trial.stopped_at = None
    return on_row_record(row, trial, record)


on_record, on_row_record = Engine._on_record, Row.on_record
PLANTED: list[tuple[type, str, object]] = [
    (Engine, "_on_record", tell_twice),
    (Engine, "_stop_trials", forget_a_stop),
    (Engine, "_save", save_too_late),
    (Engine, "_on_death", lose_deaths),
    (Row, "on_record", decide_again),
]


@pytest.mark.parametrize(("where", "name", "fault"), PLANTED)
def test_a_fault_in_the_engine_is_found(
    where: type, name: str, fault: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each planted fault breaks one of the properties in a few hundred schedules."""

    @seed(0)
    @settings(QUICK, max_examples=300, phases=[Phase.generate], print_blob=False)
    @given(sweeps(), scripts(ANY), st.integers(1, 3), st.booleans(), KILLS)
    def search(
        sweep: Sweep, scripts: list[Script], slots: int, is_cluster: bool, kills: list[int]
    ) -> None:
        check_any_schedule(sweep, scripts, slots, is_cluster, kills)

    monkeypatch.setattr(where, name, fault)
    with pytest.raises((AssertionError, StopIteration, TypeError, KeyError)):
        search()
