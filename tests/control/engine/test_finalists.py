"""Finalists and further searches in virtual time: who wins, and what becomes of the runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.engine.finalists import Finalist, choose_winner, rank
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.engine.trial import Trial
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.sweep import Sweep
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep, run_sweep

LUCKY = Script(quality=5, luck=0.4)  # 0.9 after many epochs in the search, 0.5 with other seeds
SOLID = Script(quality=8)  # 0.74
POOR = Script(quality=1)
SCRIPTS = (LUCKY, SOLID, *[POOR] * 6)
SWEEP = make_sweep(trials=24, seeds=2, finalists=2)  # so many that each rate is proposed


def run(sweep: Sweep, path: Path, *scripts: Script, **options: Any) -> Engine:
    place = VirtualPlace(SweepFolder(path), scripts or SCRIPTS, **options)
    return run_sweep(sweep, place)


def winners(engine: Engine) -> list[float | None]:
    """Return the learning rates of the winners that the folder names, of each search the last."""
    named = {
        (one["row"], one.get("search", 0)): one["trial"]
        for one in engine.folder.trials()
        if one["role"] == "winner"
    }
    found = {(row.number, row.search): row.winner() for row in engine.rows}
    assert named == {place: one and one.name for place, one in found.items()}
    return [one.config.lr if one else None for one in found.values()]


def roles(engine: Engine, role: str) -> list[Trial]:
    return [trial for trial in engine.trials() if trial.role == role]


def test_a_lucky_trial_does_not_win_against_a_solid_one(tmp_path: Path) -> None:
    assert winners(run(replace(SWEEP, finalists=1), tmp_path / "without")) == [RATES[0]]
    engine = run(SWEEP, tmp_path / "with")
    assert winners(engine) == [RATES[1]]
    runs = roles(engine, "finalist")
    assert [trial.config.lr for trial in runs] == [RATES[0]] * 2 + [RATES[1]] * 2
    assert [trial.config.seed for trial in runs] == [500, 501] * 2
    results = [engine.folder.run(trial.name).result() or {} for trial in runs]
    assert not any("test_accuracy" in result for result in results)
    finals = roles(engine, "final")
    assert [(trial.config.lr, trial.config.seed) for trial in finals] == [
        (RATES[1], 1),
        (RATES[1], 2),
    ]
    listed = [one["role"] for one in engine.folder.trials()]
    assert listed[-7:] == ["finalist"] * 4 + ["winner"] + ["final"] * 2


def test_rows_without_a_choice_have_no_finalists(tmp_path: Path) -> None:
    engine = run(make_sweep(trials=4, finalists=4, seeds=1), tmp_path, *[Script(diverges_at=1)] * 8)
    assert (winners(engine), roles(engine, "finalist")) == ([None], [])
    one = [SOLID, *[Script(diverges_at=1)] * 7]
    engine = run(SWEEP, tmp_path / "one", *one)
    assert (winners(engine), roles(engine, "finalist")) == ([RATES[0]], [])


def test_a_larger_budget_chooses_again_and_repeats_nothing(tmp_path: Path) -> None:
    small = make_sweep(trials=24, seeds=1)
    first = run(small, tmp_path)
    before = {trial.name for trial in first.trials()}
    assert winners(first) == [RATES[0]]
    assert winners(run(replace(small, finalists=2), tmp_path)) == [RATES[1]]
    third = run(replace(small, finalists=2, trials=30, seeds=2), tmp_path)
    assert winners(third) == [RATES[1]]
    assert before < {one["trial"] for one in third.folder.trials()}
    for trial in third.trials():
        epochs = [record["epoch"] for record in third.folder.run(trial.name).records()]
        assert len(epochs) == len(set(epochs))


def test_a_lost_state_costs_no_run_of_a_finalist(tmp_path: Path) -> None:
    engine = run(SWEEP, tmp_path)
    ran = {one["trial"] for one in engine.folder.trials()}
    epochs = {name: len(engine.folder.run(name).records()) for name in ran if name}
    engine.folder.state_path.unlink()
    again = run(replace(SWEEP, trials=len({t.name for t in engine.rows[0].trials})), tmp_path)
    assert winners(again) == winners(engine)
    assert {name: len(again.folder.run(name).records()) for name in epochs} == epochs
    assert {one["trial"] for one in again.folder.trials()} == ran


def test_a_failed_finalist_counts_by_its_other_runs_and_may_run_again(tmp_path: Path) -> None:
    run(replace(SWEEP, finalists=1), tmp_path)  # in the search nothing fails
    scripts = (LUCKY, replace(SOLID, faults={3: ("death",) * 3}), *[POOR] * 6)
    engine = run(SWEEP, tmp_path, *scripts)
    runs = roles(engine, "finalist")
    assert [(trial.config.lr, trial.status) for trial in runs] == [
        *[(RATES[0], "done")] * 2,
        *[(RATES[1], "failed")] * 2,
    ]
    assert winners(engine) == [RATES[0]]
    place = VirtualPlace(SweepFolder(tmp_path), SCRIPTS)
    engine = run_sweep(SWEEP, place, retry=True)
    assert [trial.status for trial in roles(engine, "finalist")] == ["done"] * 4
    assert winners(engine) == [RATES[1]], "the winner is chosen again"


def test_each_search_of_a_row_has_its_own_winner_and_seeds(tmp_path: Path) -> None:
    sweep = replace(SWEEP, searches=2, rows=[{"optimizer": "sgd"}, {"optimizer": "adam"}])
    engine = run(sweep, tmp_path, slots=3)
    assert winners(engine) == [RATES[1]] * 4
    places = [(row.number, row.search) for row in engine.rows]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    seeds = {
        (role, search): {t.config.seed for t in roles(engine, role) if t.search == search}
        for role in ("search", "finalist", "final")
        for search in (0, 1)
    }
    assert seeds == {
        ("search", 0): {0},
        ("search", 1): {1000},
        ("finalist", 0): {500, 501},
        ("finalist", 1): {1500, 1501},
        ("final", 0): {1, 2},
        ("final", 1): {1001, 1002},
    }
    assert {trial.trial_id for trial in engine.rows[1].trials[:2]} == {"0.1-0", "0.1-1"}


def test_searches_are_added_and_taken_back(tmp_path: Path) -> None:
    one = make_sweep(trials=4, seeds=1)
    first = run(one, tmp_path)
    ids = [trial.name for trial in first.trials()]
    two = run(replace(one, searches=2), tmp_path)
    assert [trial.name for trial in two.trials()][: len(ids)] == ids
    assert len(two.rows) == 2
    epochs = {t.name: len(two.folder.run(t.name).records()) for t in two.trials()}
    back = run(one, tmp_path)
    assert [trial.name for trial in back.trials()] == ids
    again = run(replace(one, searches=2), tmp_path)
    names = {trial.name for trial in two.rows[1].trials}
    assert names <= {trial.name for trial in again.rows[1].trials}
    assert {name: len(again.folder.run(name).records()) for name in epochs} == epochs


def trial(lr: float, best: float | None, seed: int = 0, **state: Any) -> Trial:
    made = Trial(f"{lr}-{seed}", "search", 0, TrainConfig(lr=lr, seed=seed), status="done")
    made.best = best
    for name, value in state.items():
        setattr(made, name, value)
    return made


def finalist(of: Trial, *values: float | None) -> Finalist:
    runs = [trial(of.config.lr, value, seed) for seed, value in enumerate(values, start=500)]
    for run in runs:
        run.status = "failed" if run.best is None else "done"
    return Finalist(of, runs)


def test_the_ranking_is_that_of_the_search() -> None:
    stopped, whole, better = trial(1, 0.9, stopped_at=2), trial(2, 0.5), trial(3, 0.6)
    failed, twin = trial(4, 0.99, status="failed"), trial(5, 0.6)
    trials = [stopped, whole, failed, better, twin]
    assert rank(trials, "max") == [better, twin, whole, stopped]
    assert rank(trials, "min") == [whole, better, twin, stopped]


@pytest.mark.parametrize(
    ("one", "two", "mode", "winner"),
    [
        ((0.5, 0.5), (0.4, 0.7), "max", 1),
        ((0.5, 0.5), (0.4, 0.7), "min", 0),
        ((0.5, 0.6), (0.6, 0.5), "max", 0),  # equal: the better one in the search
        ((0.9, 0.1), (None, 0.6), "max", 1),  # the run that failed does not count
        ((None, None), (0.1, 0.1), "max", 1),
        ((float("inf"), 1.0), (2.0, 3.0), "min", 0),
        ((None, None), (None, None), "max", 0),  # the search decides
        ((), (), "max", 0),
    ],
)
def test_the_best_mean_of_what_ended_well_wins(
    one: tuple[Any, ...], two: tuple[Any, ...], mode: Any, winner: int
) -> None:
    ranked = [trial(1, 0.9), trial(2, 0.8)]
    finalists = [finalist(ranked[0], *one), finalist(ranked[1], *two)]
    assert choose_winner(ranked, finalists, mode) is ranked[winner]


def test_before_all_finalists_have_ended_the_best_of_the_search_is_shown() -> None:
    ranked = [trial(1, 0.9), trial(2, 0.8)]
    finalists = [finalist(ranked[0], 0.1), finalist(ranked[1], 0.7)]
    finalists[1].runs[0].status = "running"
    assert choose_winner(ranked, finalists, "max") is ranked[0]
    assert choose_winner([], [], "max") is None
