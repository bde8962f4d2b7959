"""The remark on searches of unequal cost: what it leaves out, and what it calls the rows."""

from typing import TYPE_CHECKING

import pytest

from tests.results.analysis.test_search_budget import TWO_ROWS, lines, search, uneven
from tests.results.cells import row

if TYPE_CHECKING:
    from tests.results.conftest import Written


def test_a_workers_start_makes_no_search_an_expensive_one(written: "Written") -> None:
    written.rows = TWO_ROWS
    written.describe(rows=TWO_ROWS, trials=2)
    search(written, 0, (0.5, 0.6), device_hours=0.1, minutes=6.0)  # of which epochs take 0.0067
    search(written, 1, (0.5, 0.6), device_hours=0.01, minutes=0.6)
    assert lines(written) == []
    assert row(written)["search_device_hours"] == pytest.approx(0.2)


def test_a_row_that_was_run_again_is_called_so(written: "Written") -> None:
    uneven(written, 13, rows=TWO_ROWS[:1] * 2, aa=True)
    assert "model=cnn again for 15 epochs in 2 trials, model=cnn for 6 epochs" in lines(written)[0]
