"""Seeds until it is decided: the engine gives further final runs, whatever kills it in between."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldtrial.budget import until
from fieldtrial.control.engine.loop import Engine
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.engine.schedules import KILLS, QUICK, in_new_folder
from tests.control.engine.virtual import RATES, Script, VirtualPlace, make_sweep, run_sweep

ROWS = [{"optimizer": "sgd"}, {"optimizer": "adam"}, {"optimizer": "adamw"}]
SWEEP = make_sweep(rows=ROWS, seeds=until(10), trials=2)
POOR = (Script(quality=3),) * len(RATES)


def contest(folder: SweepFolder) -> dict[int, int]:
    """Want 3, then 5, then 8 runs of the first two rows, and 10 of the first."""
    runs = Counter(one["row"] for one in folder.trials() if one["role"] == "final")
    seeds = {row: len(finals(folder, row)) for row in runs}
    following = {3: 5, 5: 8, 8: 10, 10: 10}
    wanted = {0: following[seeds[0]], 1: min(8, following[seeds[1]])}
    return wanted | {2: 3}


def finals(folder: SweepFolder, row: int) -> set[str]:
    listed = folder.trials()
    return {one["trial"] for one in listed if one["role"] == "final" and one["row"] == row}


def run(folder: SweepFolder, slots: int = 1, kills: tuple[int, ...] = ()) -> Engine:
    place = VirtualPlace(folder, POOR, slots, kills=kills)
    place.contest = contest
    return run_sweep(SWEEP, place)


def test_rows_get_runs_as_long_as_the_contest_wants(tmp_path: Path) -> None:
    engine = run(SweepFolder(tmp_path))
    assert [len(row.finals or ()) for row in engine.rows] == [10, 8, 3]
    for row in engine.rows:
        seeds = [trial.config.seed - row.config.seed for trial in row.finals or ()]
        assert seeds == list(range(1, len(seeds) + 1))
        assert all(trial.status == "done" for trial in row.finals or ())


@settings(QUICK, max_examples=40)
@given(st.integers(1, 4), KILLS)
def test_a_driver_that_is_killed_gives_the_same_runs(slots: int, kills: list[int]) -> None:
    def counts(folder: SweepFolder) -> list[set[str]]:
        run(folder, slots, tuple(kills))
        return [finals(folder, row) for row in range(3)]

    def undisturbed(folder: SweepFolder) -> list[set[str]]:
        run(folder)
        return [finals(folder, row) for row in range(3)]

    assert in_new_folder(counts) == in_new_folder(undisturbed)


def test_a_number_of_seeds_holds_no_contest(tmp_path: Path) -> None:
    place = VirtualPlace(SweepFolder(tmp_path), POOR)
    place.contest = lambda _: pytest.fail("nothing is to be asked")
    engine = run_sweep(make_sweep(rows=ROWS, seeds=3, trials=2), place)
    assert [len(row.finals or ()) for row in engine.rows] == [3, 3, 3]
