"""Which rows of a real folder get more seeds, and what their table then says."""

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fieldtrial.results.analysis.contest import main, runs_wanted
from tests.results.cells import footer, own_table

if TYPE_CHECKING:
    from tests.results.conftest import Written

MEANS = (0.80, 0.805, 0.40)  # the second is too near for three seeds, the third far away
GAP = 0.03
LUCK = np.random.default_rng(0).normal(0, 0.01, (3, 10))


@pytest.fixture
def contested(written: "Written") -> "Written":
    written.describe(most_seeds=10)
    for row in range(len(MEANS)):
        written.ended(row, validation=0.9 - 0.1 * row)
        add(written, row, 0, 3)
    return written


def add(written: "Written", row: int, first: int, last: int, shift: float = 0.0) -> None:
    for seed in range(first, last):
        test = MEANS[row] + float(LUCK[row][seed]) + shift
        written.ended(row, "final", 0.5, test, seed=seed + 1)


def test_rows_in_the_contest_and_the_best_get_more(
    contested: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = runs_wanted(contested.folder)
    assert wanted[2] == 3
    assert wanted[0] == max(wanted.values())
    assert main([str(contested.folder.path)]) == 0
    assert json.loads(capsys.readouterr().out) == {str(row): n for row, n in wanted.items()}


def test_a_difference_that_more_seeds_show_ends_the_contest(contested: "Written") -> None:
    """Five runs of a spread of one point show three points; three runs did not."""
    for row in (0, 1):
        add(contested, row, 3, 5)
    assert runs_wanted(contested.folder) == {0: 8, 1: 8, 2: 3}  # half a point is not shown
    for number in range(5):
        run = contested.folder.run(contested.trial(1, seed=number + 1))
        test = MEANS[0] - GAP + float(LUCK[1][number])
        run.write_result((run.result() or {}) | {"test_accuracy": test, "test_loss": test})
    assert runs_wanted(contested.folder) == {0: 5, 1: 5, 2: 3}
    marks = [group.mark for group in own_table(contested.folder).groups.groups]
    assert marks == ["best", "worse", "worse"]


def test_the_footer_says_what_was_taken_and_saved(contested: "Written") -> None:
    assert (
        "Seeds until it is decided: 9 final runs so far, instead of 30 with 10 for each row. All"
        " looks, after 3, 5, 8, 10 runs of a row, share the 5 %." in footer(contested)
    )


def test_seeds_that_were_raised_after_a_look_are_said(complete: "Written") -> None:
    complete.describe(earlier_seeds=[2])
    assert (
        "The number of seeds was changed from 2 to 3 when there were final runs already."
        in footer(complete)
    )


def test_a_row_with_a_failed_run_gets_more_to_begin_with(contested: "Written") -> None:
    run = next(
        contested.folder.run(one["trial"])
        for one in contested.folder.trials()
        if (one["role"], one["row"]) == ("final", 2)
    )
    result = run.path / "result.json"
    result.unlink()
    run.write_error("died", "its worker died", attempt=1)
    assert runs_wanted(contested.folder)[2] == 5
    marks = {group.number: group.mark for group in own_table(contested.folder).groups.groups}
    assert marks[2] == "untested"
    add(contested, 2, 3, 5)
    assert own_table(contested.folder).groups.groups[2].mark == "worse"
