"""Seeds until it is decided: the level over all looks, and what an end of the looks means."""

import numpy as np
import pytest
from scipy import stats

from fieldtrial.power import LEVEL
from fieldtrial.results.verdicts.crossed import Runs
from fieldtrial.results.verdicts.joint import TESTED
from fieldtrial.results.verdicts.sequential import Contest, hold_contest, look_at, looks

DIFFERENCE = np.array([[1.0, -1.0]])


def test_a_row_gets_half_as_many_runs_again_at_each_look() -> None:
    assert looks(10) == [3, 5, 8, 10]
    assert looks(5) == [3, 5]
    assert looks(3) == [3]
    assert looks(2) == [2]


def rows(first: np.ndarray, second: np.ndarray, count: int) -> list[Runs]:
    return [Runs(first[:count]), Runs(second[:count])]


def test_a_single_look_at_the_end_is_the_test_itself() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, (2, 10))
    found = look_at([rows(first, second + 0.9, 10)], DIFFERENCE, [1.0])
    corrected = found.judged.p[0] / TESTED
    assert found.judged.corrected_p[0] == pytest.approx(corrected, abs=0.01)


def test_looks_that_share_everything_cost_nothing() -> None:
    """Runs without luck of their own: each look sees the same difference, and the level stays."""
    right = np.random.default_rng(1).integers(0, 2, (2, 300)).astype(float)
    made = [Runs(one.mean(keepdims=True), one[None], np.arange(300), 1.0, 2) for one in right]
    found = look_at([made] * 3, DIFFERENCE, [0.3, 0.6, 1.0])
    once = look_at([made], DIFFERENCE, [1.0])
    np.testing.assert_allclose(found.judged.half_widths, once.judged.half_widths, rtol=0.01)


def test_unrelated_looks_share_the_level() -> None:
    """A first look with a hundredth of the runs: what it may show is its share of the level."""
    random = np.random.default_rng(2)
    first, second = random.normal(0, 1, (2, 300))
    stages = [rows(first, second, 3), rows(first, second, 300)]
    error = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 300))
    found = look_at(stages, DIFFERENCE, [0.5, 1.0])
    spent = TESTED * LEVEL
    rest = spent - spent / 2  # the first look has no chance but its own
    assert found.judged.half_widths[0] / error == pytest.approx(
        stats.norm.ppf(1 - rest / 2), rel=0.03
    )


def test_the_level_holds_over_all_looks() -> None:
    random = np.random.default_rng(3)
    plan = looks(10)
    false = 0
    for _ in range(300):
        first, second = random.normal(0, 1, (2, 10))
        stages = []
        for number, count in enumerate(plan):
            stages.append(rows(first, second, count))
            shares = [one / 10 for one in plan[: number + 1]]
            if look_at(stages, DIFFERENCE, shares, draws=2000).shown[0]:
                false += 1
                break
    assert false / 300 <= 0.08  # 5 % of 300 are 15; more than 24 are met once in 90 times


def test_a_difference_without_a_chance_gets_no_further_runs() -> None:
    near, far = np.array([0.1, -0.1, 0.05]), np.array([2.0, -1.5, 0.9])
    alike = look_at([rows(near, near[::-1].copy(), 3)], DIFFERENCE, [0.3])
    apart = look_at([rows(near, far + 2.5, 3)], DIFFERENCE, [0.3])
    assert alike.chance[0] < 0.1
    assert apart.chance[0] > 0.5


def held(first: float, others: list[float], finished: list[int], chance: int = 4) -> Contest:
    """Return the contest of rows with these means and a spread of 1, up to ten runs."""
    random = np.random.default_rng(chance)
    values = [random.normal(mean, 1, 10) for mean in (first, *others)]
    stages = [[Runs(own[:count]) for count in looks(10)] for own in values]
    weights = np.column_stack([-np.ones(len(others)), np.eye(len(others))])
    pairs = [(row, 0) for row in range(1, len(values))]
    return hold_contest(stages, finished, weights, pairs, most=10)


def test_only_rows_in_the_contest_and_the_best_get_more_runs() -> None:
    found = held(0.0, [-40.0, 0.4, -2.5], [3] * 4)
    assert found.shown[0]  # far below: decided at once
    assert found.given[1] == 3
    assert found.given[0] == max(found.given) == 5
    assert len(found.found) == 1  # the next look waits for the runs


def test_the_contest_goes_on_with_what_has_ended_and_keeps_what_was_shown() -> None:
    first = held(0.0, [-40.0, 0.4, -2.5], [3] * 4)
    later = held(0.0, [-40.0, 0.4, -2.5], [5, 3, 5, 5])
    assert len(later.found) == 2
    assert later.verdicts[0] == 0
    np.testing.assert_array_equal(
        first.found[0].judged.half_widths, later.found[0].judged.half_widths
    )
    end = held(0.0, [-40.0, 0.4, -2.5], [10] * 4)
    assert end.shown == [True, False, True]
    assert max(end.given) <= 10


def test_a_pair_beside_the_best_gets_more_runs_where_it_is_contested() -> None:
    random = np.random.default_rng(4)
    values = [random.normal(mean, 1, 10) for mean in (0.0, -40.0, -41.5)]
    stages = [[Runs(own[:count]) for count in looks(10)] for own in values]
    weights = np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    with_best, every = [(1, 0), (2, 0)], [(1, 0), (2, 0), (1, 2)]
    assert hold_contest(stages, [3] * 3, weights, with_best, most=10).given == [3, 3, 3]
    assert hold_contest(stages, [3] * 3, weights, every, most=10).given == [3, 5, 5]
    found = hold_contest(stages, [3, 10, 10], weights, every, most=10)
    assert found.shown == [True, True, True]
    assert found.verdicts[:2] == [0, 0]
    assert found.verdicts[2] > 0


def test_nobody_gets_more_runs_where_all_is_decided() -> None:
    assert held(0.0, [-40.0, -50.0], [3] * 3).given == [3, 3, 3]
