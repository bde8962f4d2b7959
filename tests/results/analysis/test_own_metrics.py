"""Verdicts by a metric of the user's own, of which runs say whether small values are good."""

from typing import TYPE_CHECKING

import pytest

from fieldtrial.results.analysis.grouping import group_trials
from fieldtrial.results.read.sweeps import read_sweeps

if TYPE_CHECKING:
    from tests.results.conftest import Written

COSTS = {0: [1.0, 1.1, 1.2], 1: [2.0, 2.1, 2.2]}


@pytest.mark.parametrize(("said", "mark"), [(["cost"], "worse"), (None, "better")])
def test_a_metric_of_ones_own_is_read_as_its_runs_say(
    said: list[str] | None, mark: str, written: "Written"
) -> None:
    written.rows = [{"optimizer": "sgd"}, {"optimizer": "adam"}]
    written.describe(rows=written.rows)
    more = {} if said is None else {"small_is_better": said}
    for row, costs in COSTS.items():
        written.ended(row, validation=0.9 - 0.1 * row)
        for seed, cost in enumerate(costs, 1):
            result = {"test_cost": cost, **more}
            written.ended(row, "final", 0.3, 0.5 + 0.01 * seed, result, seed=seed)
    groups = group_trials(read_sweeps([written.folder.path]), ["optimizer"], "test_cost")
    assert groups.sign == (1 if said is None else -1)
    assert [group.mark for group in groups.groups] == ["best", mark]
