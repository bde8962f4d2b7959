"""The engine in virtual time: whatever happens to workers and drivers, the result is right."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from fieldtrial.control.engine.journal.replayed import Replayed
from fieldtrial.control.engine.loop import Engine, SweepError
from fieldtrial.control.engine.outcomes import (
    same_first_error,
)
from fieldtrial.control.engine.rounds import round_of
from fieldtrial.control.engine.row import Row
from fieldtrial.control.engine.row_trials import RowTrials
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
from tests.control.engine.virtual import Script, VirtualPlace, run_sweep


def assert_told_once(row: Row) -> None:
    """Each epoch and each end of a trial was told to the searcher once, in order.

    In rounds, the ends are told before another trial is proposed, in the order of the trials.
    """
    assert row._searcher
    told: list[tuple[Any, ...]] = row._searcher.searcher.told
    if row._in_rounds:
        first, _ = round_of(len(row.trials) - 1, row._random)
        ends = [(trial.trial_id, "end") for trial in row.trials[:first]]
        assert [(name, what) for name, what, _ in told] == ends
        return
    for trial in row.trials:
        own = [what for name, what, _ in told if name == trial.trial_id]
        assert own == [*range(1, len(own)), "end"], own
        if trial.status == "done":
            stopped_at = trial.stopped_at
            assert len(own) - 1 == (trial.last_epoch if stopped_at is None else stopped_at)
    assert len(told) == sum(name in {t.trial_id for t in row.trials} for name, *_ in told)


def assert_finalists(row: Row, winner: Trial | None) -> None:
    """The best configurations were trained again, and the best of them on average has won."""
    well = {t.name for t in row.trials if t.status == "done"}
    chosen = [finalist.trial for finalist in row.finalists or []]
    several = min(row.most_finalists, len(well))
    assert len(chosen) == (several if several > 1 else 0)
    seeds = [run.config.seed for finalist in row.finalists or [] for run in finalist.runs]
    used = [trial.config.seed for trial in (*row.trials, *(row.finals or []))]
    assert not set(seeds) & set(used)
    values = {
        finalist.trial.name: [run.best or 0.0 for run in finalist.runs if run.status == "done"]
        for finalist in row.finalists or []
    }
    means = {name: sum(own) / len(own) for name, own in values.items() if own}
    if winner and means:
        assert means[winner.name] == pytest.approx(max(means.values()))


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
        listed |= {"search": row.search} if row.search else {}
        assert winners.count(listed) == 1
        assert_finalists(row, winner)
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


def forget_a_call(replayed: Replayed, name: str, *arguments: Any, **options: Any) -> Any:
    return getattr(replayed.made, name)(*arguments, **options)


def save_no_change(row: RowTrials, trial: Trial, name: str) -> None:
    on_change(row, trial, name)
    row._unsaved.names.clear()


on_record, on_row_record = Engine._on_record, Row.on_record
on_change = RowTrials._on_change
PLANTED: list[tuple[type, str, object]] = [
    (Engine, "_on_record", tell_twice),
    (Engine, "_stop_trials", forget_a_stop),
    (Engine, "_save", save_too_late),
    (Engine, "_on_death", lose_deaths),
    (Row, "on_record", decide_again),
    (Replayed, "call", forget_a_call),
    (RowTrials, "_on_change", save_no_change),
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
