"""Every pair of rows compared: letters, the family of all, and the files that say it."""

import itertools
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from fieldtrial.results.analysis.contest import runs_wanted
from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.report.build import render_report
from fieldtrial.results.table.command import main
from fieldtrial.results.table.tables import grouped_table
from tests.results.cells import column, footer, own_table

if TYPE_CHECKING:
    from tests.results.conftest import Written

OPTIMIZERS = ["sgd", "adam", "adamw", "rmsprop"]
# Each row's three runs: neighbours overlap, the ends do not.
CHAIN = [
    [0.90, 0.92, 0.91],
    [0.82, 0.88, 0.85],
    [0.78, 0.80, 0.79],
    [0.50, 0.52, 0.51],
]


@pytest.fixture
def chained(written: "Written") -> "Written":
    written.rows = [{"optimizer": name} for name in OPTIMIZERS]
    written.describe(rows=written.rows, pairs=True)
    for number, tests in enumerate(CHAIN):
        written.ended(number, validation=0.9 - 0.1 * number)
        add(written, number, tests)
    return written


def add(written: "Written", row: int, tests: list[float], first: int = 1) -> None:
    for seed, test in enumerate(tests, first):
        written.ended(row, "final", 0.3, test, seed=seed)


def shown(groups: Groups) -> set[frozenset[int]]:
    return {
        frozenset((one.first, one.second)) for one in groups.compared_pairs if one.comparison.shown
    }


def test_rows_share_a_letter_exactly_where_no_difference_is_shown(chained: "Written") -> None:
    groups = own_table(chained.folder).groups
    found = shown(groups)
    assert found == {frozenset(pair) for pair in ((0, 2), (0, 3), (1, 3), (2, 3))}
    by_number = {group.number: group for group in groups.groups}
    assert [by_number[number].letters for number in range(4)] == ["a", "ab", "b", "c"]
    for one, other in itertools.combinations(by_number.values(), 2):
        share = bool(set(one.letters) & set(other.letters))
        assert share == (frozenset((one.number, other.number)) not in found)


def test_all_pairs_are_one_family_with_the_fields(chained: "Written") -> None:
    every = own_table(chained.folder).groups
    chained.describe(rows=chained.rows)
    with_best = own_table(chained.folder).groups
    assert len(every.compared_pairs) == 6
    assert not with_best.compared_pairs

    def corrected(group: Group) -> float:
        assert group.comparison
        return group.comparison.corrected_p

    for number in (1, 2):  # the p of one comparison stays, that for all grows with the family
        wide, narrow = every.groups[number], with_best.groups[number]
        assert wide.comparison
        assert narrow.comparison
        assert wide.comparison.p == narrow.comparison.p
        assert corrected(wide) > corrected(narrow)


def test_a_row_that_another_than_the_best_beats_is_not_set_off(chained: "Written") -> None:
    """Best on validation with few, wide runs: it does not beat the third, which the second does."""
    for number, tests in enumerate(
        [[0.70, 0.99, 0.86], [0.901, 0.903, 0.902], [0.82, 0.825, 0.83]]
    ):
        for seed, test in enumerate(tests, 1):
            run = chained.folder.run(chained.trial(number, seed=seed))
            run.write_result((run.result() or {}) | {"test_accuracy": test, "test_loss": test})
    groups = own_table(chained.folder).groups.groups
    assert groups[2].mark == "not shown to differ"
    assert [group.in_best_set for group in groups] == [True, True, False, False]


def test_the_table_its_files_and_the_report_say_every_pair(
    chained: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    assert column(chained, "letters") == ["a", "ab", "b", "c"]
    assert "6 comparisons of rows (every pair), as to other seeds on these" in footer(chained)
    path = str(chained.folder.path)
    assert main([path]) == 0
    assert str(chained.folder.pairs_path) in capsys.readouterr().out
    pairs = pd.read_csv(chained.folder.pairs_path)
    assert len(pairs) == 6
    of_ends = pairs[(pairs["row"] == "rmsprop") & (pairs["other"] == "sgd")].iloc[0]
    assert of_ends["difference"] == pytest.approx(0.51 - 0.91)
    assert bool(of_ends["shown"])
    assert of_ends["low"] < -0.40 < of_ends["high"] < 0
    assert main([path, "--format", "pairs"]) == 0
    assert capsys.readouterr().out == chained.folder.pairs_path.read_text()
    page = render_report(chained.folder)
    assert "Of 6 pairs of rows, 4 are shown to differ, by " in page
    assert '<th scope="col" class="number">4</th>' in page
    assert page.count(">−40.0</td>") == page.count(">+40.0</td>") == 1


def test_every_pair_of_any_table_on_request(chained: "Written") -> None:
    chained.describe(rows=chained.rows)
    sweeps = read_sweeps([chained.folder.path])
    assert "letters" not in own_table(chained.folder).grid.header
    asked = grouped_table(sweeps, sweeps.records(), rows=["optimizer"], all_pairs=True)
    assert list(asked.frame["letters"]) == ["a", "ab", "b", "c"]


def test_pairs_beside_the_best_get_seeds_where_the_sweep_asks_for_every_pair(
    chained: "Written",
) -> None:
    """The last two rows are far below the best, and near each other."""
    for number, tests in ((2, [0.52, 0.54, 0.53]), (1, [0.70, 0.72, 0.71])):
        for seed, test in enumerate(tests, 1):
            run = chained.folder.run(chained.trial(number, seed=seed))
            run.write_result((run.result() or {}) | {"test_accuracy": test, "test_loss": test})
    chained.describe(rows=chained.rows, most_seeds=10)
    assert runs_wanted(chained.folder) == {0: 3, 1: 3, 2: 3, 3: 3}
    chained.describe(rows=chained.rows, most_seeds=10, pairs=True)
    assert runs_wanted(chained.folder) == {0: 3, 1: 3, 2: 5, 3: 5}
