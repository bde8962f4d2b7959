"""Rows with finalists and with several searches: their winners, runs, notes and standing."""

from typing import TYPE_CHECKING, Any

import pytest

from fieldtrial.disk.run import Run
from fieldtrial.results.analysis.cost import account, cost_of_trials
from fieldtrial.results.analysis.grouping import group_rows, group_trials
from fieldtrial.results.analysis.winner import find_winners
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.status import read_standing
from tests.results.cells import TEST, cell, footer, own_table, row

if TYPE_CHECKING:
    from fieldtrial.results.analysis.groups import Group
    from tests.results.conftest import Written


def group(written: "Written", number: int = 0) -> "Group":
    return group_rows(read_sweeps([written.folder.path])).groups[number]


def search_twice(written: "Written", row: int, *validation: float) -> list[Run]:
    """Write two searches of a row, whose winners are named, with three final runs each."""
    winners = []
    for search, best in enumerate(validation):
        seed = 1000 * search
        fields: dict[str, Any] = {"search": search, "lr": 0.1 + search / 10}
        winners.append(written.ended(row, validation=best, seed=seed, **fields))
        written.ended(row, validation=best - 0.1, search=search, lr=0.5, seed=seed)
        written.folder.list_trial(winners[-1].name, row, "winner", search)
        for number in range(1, 4):
            test = 0.5 + search / 10 + number / 100
            written.ended(row, "final", 0.3, test, seed=seed + number, **fields)
    return winners


def test_a_row_has_the_final_runs_of_the_winners_of_all_its_searches(written: "Written") -> None:
    written.describe(searches=2)
    first, second = search_twice(written, 0, 0.8, 0.7)
    sweeps = read_sweeps([written.folder.path])
    own = sweeps.trials[(sweeps.trials["row"] == 0) & (sweeps.trials["role"] == "search")]
    found = find_winners(own, sweeps.select, sweeps.mode)
    assert [(one["trial"], one["search"]) for one in found] == [(first.name, 0), (second.name, 1)]
    one = group(written)
    assert one.winner is not None
    assert one.winner["trial"] == first.name, "the best of both on validation"
    assert one.finals[["search", "seed"]].to_numpy().tolist() == [
        [search, 1000 * search + number] for search in (0, 1) for number in (1, 2, 3)
    ]
    assert list(one.values) == [1, 2, 3, 1001, 1002, 1003]
    assert (one.note, one.expected, one.repeated) == ("", 4, 0)
    assert row(written)["lr"] == 0.1
    assert row(written)["n"] == 2, "the luck of a search is common to its runs"
    assert cell(written, TEST).endswith("(n=2 searches)")
    (whole,) = group_trials(sweeps, [], "test_accuracy").groups
    assert len(whole.values) == 6
    assert whole.note == "4 of 12 searched"


def test_final_runs_count_for_their_own_search_only(written: "Written") -> None:
    written.describe(searches=2)
    search_twice(written, 0, 0.8, 0.7)
    # once the winner of the second search; it has the configuration of the first one's winner
    written.ended(0, "final", 0.3, 0.9, search=1, lr=0.1, seed=1001)
    assert (row(written)["n"], row(written)["final_left_out"]) == (2, 1)


def test_searches_that_are_under_way_say_so(written: "Written") -> None:
    written.describe(searches=3)
    search_twice(written, 0, 0.8, 0.7)
    assert group(written).note == "4 of 6 searched"
    written.failed(0, search=2, lr=0.3, seed=2000)
    written.failed(0, search=2, lr=0.4, seed=2000)
    written.folder.list_trial(None, 0, "winner", 2)
    assert group(written).note == "", "two winners and their final runs are complete"
    written.describe(searches=3, seeds=4)
    assert group(written).note == "final: 2 not started"


def test_the_luck_of_the_search_is_said_where_it_is_left_out(written: "Written") -> None:
    left_out = "intervals and p leave out that another search might find other winners."
    written.describe(searches=3)
    for row_number in (0, 1):
        for search in range(3):
            best = 0.8 - 0.1 * row_number
            seed = 1000 * search
            fields: dict[str, Any] = {"search": search, "lr": 0.1, "seed": seed}
            winner = written.ended(row_number, validation=best, **fields)
            written.folder.list_trial(winner.name, row_number, "winner", search)
            for number in range(1, 4):
                test = best + search / 50 + number / 100
                written.ended(row_number, "final", 0.3, test, **(fields | {"seed": seed + number}))
    assert own_table(written.folder).groups.row_comparisons
    assert left_out not in footer(written)
    written.describe(searches=1)
    assert own_table(written.folder).groups.row_comparisons
    assert left_out in footer(written)


def test_searches_that_the_sweep_no_longer_has_are_left_out(written: "Written") -> None:
    written.describe(searches=2)
    search_twice(written, 0, 0.7, 0.8)
    assert row(written)["validation_accuracy"] == 0.8
    written.describe(searches=1)
    assert (row(written)["validation_accuracy"], row(written)["n"]) == (0.7, 3)
    assert "5 trials left out: of no row or search that the sweep has now." in footer(written)


def test_a_row_waits_for_its_finalists(written: "Written") -> None:
    written.describe(trials=3, finalists=2, seeds=2)
    lucky = written.ended(0, validation=0.9, lr=0.1)
    solid = written.ended(0, validation=0.8, lr=0.2)
    written.failed(0, lr=0.3)
    assert cell(written, TEST) == "0 of 4 runs of finalists"
    standing = read_standing(written.folder).rows[0]
    assert (standing.finalist_runs, standing.counts["waiting"]) == (4, 4 + 2), "3 trials ended"
    for seed, run in ((500, written.ended), (501, written.running)):
        run(0, "finalist", lr=0.1, seed=seed)
    assert row(written)["note"] == "1 of 4 runs of finalists"
    standing = read_standing(written.folder).rows[0]
    assert (len(standing.finalists), standing.counts["waiting"]) == (2, 1 + 2 + 2)
    for seed in (500, 501):
        written.ended(0, "finalist", validation=0.8, lr=0.2, seed=seed)
    assert row(written)["winner"] == lucky.name, "before it is named, the best so far"
    written.folder.list_trial(solid.name, 0, "winner")
    assert (row(written)["winner"], row(written)["note"]) == (solid.name, "final: 2 not started")
    assert "4 finalist (3 finished, 1 running or interrupted)" in footer(written)
    sweeps = read_sweeps([written.folder.path])
    costs = account(sweeps.trials, cost_of_trials(sweeps.records(), sweeps.trials))
    assert costs.by_outcome["finished"][0] == 2 + 3


@pytest.mark.parametrize("wanted", [2, 3])
def test_finalists_that_all_failed_leave_the_choice_to_the_search(
    written: "Written", wanted: int
) -> None:
    """Of three finalists, only two may be found among the trials that ended well."""
    written.describe(finalists=wanted, trials=3, seeds=1)
    best = written.ended(0, validation=0.9, lr=0.1)
    written.ended(0, validation=0.8, lr=0.2)
    written.failed(0, lr=0.3)
    for lr in (0.1, 0.2):
        written.failed(0, "finalist", lr=lr, seed=500)
    assert row(written)["note"] == "2 of 2 runs of finalists"
    written.folder.list_trial(best.name, 0, "winner")
    written.ended(0, "final", 0.5, 0.5, lr=0.1, seed=1)
    assert row(written)["note"] == (
        "no run of a finalist ended well, so the search chose the winner"
    )


def test_runs_of_finalists_are_part_of_what_a_search_cost(written: "Written") -> None:
    """They are no trials of it. A search is compared with others when all of them have ended."""
    written.describe(trials=1, finalists=2, seeds=2)
    for number in range(2):
        written.ended(number, lr=0.1)
    for seed in range(4):
        written.ended(0, "finalist", lr=0.1, seed=seed + 5)
    assert cell(written, "search cost", 0) == "0.0333 h, 15 epochs, 1 trial"
    assert cell(written, "search cost", 1) == "0.00667 h, 3 epochs, 1 trial"
    assert "Unequal searches: model=cnn freeze=none for 15 epochs in 1 trial" in footer(written)
    written.running(0, "finalist", lr=0.1, seed=9)
    assert "Unequal" not in footer(written)
