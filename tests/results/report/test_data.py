"""What the report's figures are drawn from, as small as they need it."""

import base64

import numpy as np
import pandas as pd
import pytest

from fieldtrial.results.analysis.groups import Group, Groups
from fieldtrial.results.report.data import MISSING, MOST_DRAWS, MOST_LINES, _curve, budget

NO_TRIALS = pd.DataFrame()


def searched(number: int, losses: list[float]) -> Group:
    """Return a row whose search trials have these validation losses."""
    trials = pd.DataFrame({"role": "search", "outcome": "finished", "validation_loss": losses})
    return Group(number, (str(number),), trials, None, NO_TRIALS, NO_TRIALS, {}, ())


def rows(groups: list[Group]) -> Groups:
    return Groups(("row",), "test_loss", "validation_loss", "min", groups, [])


def test_the_best_rows_of_many_are_drawn() -> None:
    count = MOST_LINES + 3
    groups = [searched(number, [1.0 - number / 1000, 2.0]) for number in range(count)]
    found = budget(rows(groups), [f"row {number}" for number in range(count)])
    assert found["left_out"] == 3
    assert [line["label"] for line in found["lines"]] == [
        f"row {number}" for number in reversed(range(3, count))
    ]
    assert found["lines"][0]["trials"] == [1, 2]
    assert found["lines"][0]["best"] == pytest.approx([(2 + 0.938) / 2, 0.938])


def test_a_line_of_many_trials_has_few_points_and_both_ends() -> None:
    losses = [float(place) for place in range(1, 501)]
    (line,) = budget(rows([searched(0, losses)]), ["row"])["lines"]
    assert len(line["trials"]) == len(line["best"]) == MOST_DRAWS
    assert (line["trials"][0], line["trials"][-1]) == (1, 500)
    # the least of n out of 1 to 500 is 501 / (n + 1) on the average
    wanted = [501 / (n + 1) for n in line["trials"]]
    assert line["best"] == pytest.approx(wanted, rel=1e-4)


def test_rows_without_two_trials_have_no_line() -> None:
    found = budget(rows([searched(0, [0.5]), searched(1, [])]), ["one", "none"])
    assert found == {"lines": [], "left_out": 0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e20, -1e20, 1e40])
def test_a_curve_that_is_one_number_has_a_range(value: float) -> None:
    curve = _curve("train_loss", pd.Series([value, value, float("nan")]))
    assert curve["low"] == value < curve["high"]
    codes = np.frombuffer(base64.b64decode(curve["data"]), "<u2")
    assert codes.tolist() == [0, 0, MISSING]
