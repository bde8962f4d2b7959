"""The budget of searches: costs counted by hand, expectations over all choices of trials."""

import itertools
import math
import statistics
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from fieldtrial.disk.sweep_description import Mode
from fieldtrial.results.analysis.grouping import row_groups
from fieldtrial.results.analysis.groups import Group
from fieldtrial.results.analysis.search_budget import (
    budget_findings,
    drawn_values,
    expected_best,
)
from fieldtrial.results.analysis.winner import read_searches
from fieldtrial.results.read.sweeps import read_sweeps
from fieldtrial.results.table.tables import grouped_table
from tests.results.cells import cell, column, footer, own_table, row

if TYPE_CHECKING:
    from tests.results.conftest import Written

TWO_ROWS: list[dict[str, Any]] = [{"model": "cnn"}, {"model": "mlp"}]
VALUES = (0.31, 0.9, 0.42, 0.9, 0.77, 0.42, 0.05)


def brute_force(values: Sequence[float], n: int, mode: Mode) -> float:
    best = max if mode == "max" else min
    return statistics.fmean(best(chosen) for chosen in itertools.combinations(values, n))


def search(written: "Written", number: int, values: Sequence[float], **result: Any) -> None:
    """Write search trials of a row with these validation accuracies; losses are 1 - accuracy."""
    for place, value in enumerate(values):
        written.ended(number, validation=value, lr=0.01 * (place + 1), result=result)


def said(written: "Written") -> list[dict[str, str]]:
    labels = read_sweeps([written.folder.path]).only.labels
    return budget_findings(own_table(written.folder).groups, labels)


def lines(written: "Written", start: str = "Unequal") -> list[str]:
    return [line for line in footer(written).splitlines() if line.startswith(start)]


def test_what_a_search_cost_is_counted_whatever_became_of_its_trials(written: "Written") -> None:
    written.describe(trials=5, seeds=1)
    written.ended(0, lr=0.1)  # epochs 0 to 3, 6 seconds each
    written.ended(0, lr=0.2, result={"outcome": "stopped"}).write_environment(1, {"world_size": 2})
    written.failed(0, lr=0.3)  # epochs 0 to 2
    again = written.running(0, lr=0.4)  # epochs 0 and 1
    with again.recorder(2) as recorder:  # epoch 1 has been lost, and is repeated
        recorder.write({"epoch": 1, "seconds": 12.0})
    written.waiting(0, lr=0.5)
    written.ended(0, "final", test=0.5, lr=0.1, seed=7)  # which is no search
    first = row(written)
    assert (first["search_trials"], first["search_epochs"]) == (5, 3 + 3 + 2 + 1)
    assert first["search_device_hours"] == pytest.approx((24 + 48 + 18 + 6 + 6 + 12) / 3600)
    assert cell(written, "search cost") == "0.0317 h, 9 epochs, 5 trials"
    assert "search_cost" not in first


def test_a_trial_that_rows_share_costs_in_each_and_no_trial_costs_nothing(
    written: "Written",
) -> None:
    written.describe(trials=1)
    run = written.ended(0, lr=0.1)
    written.folder.list_trial(run.name, 1, "search")
    assert column(written, "search cost") == [
        "0.00667 h, 3 epochs, 1 trial", "0.00667 h, 3 epochs, 1 trial", "–",
    ]  # fmt: skip
    assert (row(written, 2)["search_epochs"], row(written, 2)["search_device_hours"]) == (0, 0.0)


def test_a_sweep_without_a_search_has_no_column_of_its_cost(written: "Written") -> None:
    written.describe(search={})
    written.ended(0)
    assert "search cost" not in own_table(written.folder).grid.header
    assert row(written)["search_epochs"] == 3


def test_the_cost_can_be_asked_for(complete: "Written") -> None:
    sweeps = read_sweeps([complete.folder.path])
    names = ("search_cost", "search_trials", "search_epochs", "search_device_hours")
    table = grouped_table(sweeps, sweeps.records(), rows=["model"], show=names)
    assert table.grid.header[-4:] == [
        "search cost", "search trials", "search epochs", "search device-hours",
    ]  # fmt: skip
    assert [[one.text for one in line[-4:]] for line in table.grid.rows] == [
        ["0.0267 h, 12 epochs, 4 trials", "4", "12", "0.0267"],
        ["0.0133 h, 6 epochs, 2 trials", "2", "6", "0.0133"],
    ]
    assert table.frame["search_device_hours"].tolist() == pytest.approx([96 / 3600, 48 / 3600])


def uneven(
    written: "Written",
    epochs: int,
    processes: int = 1,
    ends: str = "finished finished",
    **changes: Any,
) -> None:
    """Write a row whose two trials have 6 epochs of 6 seconds, and one with so many epochs."""
    written.rows = changes.pop("rows", TWO_ROWS)
    written.describe(rows=written.rows, trials=2, **changes)
    search(written, 0, (0.5, 0.6))
    for part, end in zip((1, epochs - 1), ends.split(), strict=True):
        run = written.waiting(1, lr=0.01 * part)
        run.write_environment(1, {"world_size": processes})
        written.record(run, part)
        if end == "finished":
            run.write_result({"outcome": end, "epochs": part, "validation_accuracy": 0.4})
        elif end == "failed":
            run.write_error("diverged", "the loss is nan at step 12", attempt=1)


def test_a_search_with_more_than_twice_the_epochs_is_told(written: "Written") -> None:
    uneven(written, 13)  # (13 + 2) × 6 seconds are not twice (6 + 2) × 6
    assert lines(written) == [
        "Unequal searches: model=mlp for 13 epochs in 2 trials, model=cnn for 6 epochs in 2 trials,"
        " which is less than half of the epochs. A row that is searched longer has an unfair"
        " advantage."
    ]


def test_a_search_with_more_than_twice_the_device_hours_is_told(written: "Written") -> None:
    uneven(written, 6, processes=3)
    assert lines(written) == [
        "Unequal cost of the searches: 0.04 device-hours in epochs for model=mlp, 0.0133"
        " device-hours in epochs for model=cnn, which is less than half. For as many device-hours,"
        " the cheaper row could have been searched longer."
    ]


@pytest.mark.parametrize(
    ("epochs", "changes"),
    [
        (12, {}),  # twice is not more than twice
        (60, {"ends": "failed failed"}),  # a row without a winner is not compared
        (60, {"ends": "finished running"}),  # nor is one whose search goes on
        (60, {"rows": [{"dataset": "mnist"}, {"dataset": "digits"}]}),  # nor other data
        (60, {"search": {}}),  # nothing was searched
    ],
)
def test_no_search_is_called_unequal_without_reason(
    written: "Written", epochs: int, changes: dict[str, Any]
) -> None:
    uneven(written, epochs, **changes)
    assert lines(written) == []


def test_groups_that_the_search_has_made_are_not_called_unequal(written: "Written") -> None:
    uneven(written, 60)
    sweeps = read_sweeps([written.folder.path])

    def told(*fields: str) -> int:
        grid = grouped_table(sweeps, sweeps.records(), rows=fields).grid
        return sum(line.startswith("Unequal") for line in grid.footer)

    assert (told("model"), told("lr"), told("model", "lr")) == (2, 0, 0)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_expected_best_is_the_mean_over_all_choices(mode: Mode) -> None:
    draws = range(1, len(VALUES) + 1)
    wanted = [brute_force(VALUES, n, mode) for n in draws]
    assert expected_best(VALUES, draws, mode) == pytest.approx(wanted, rel=1e-12)
    assert wanted[-1] == (0.9 if mode == "max" else 0.05)


def test_the_expected_best_of_many_trials_is_exact() -> None:
    values = [(37 * place % 1000) / 1000 for place in range(1000)]  # 0 to 0.999, mixed

    def exact(n: int) -> float:
        ways = (math.comb(place, n - 1) * Fraction(place, 1000) for place in range(1000))
        return float(sum(ways) / math.comb(1000, n))

    draws = (1, 2, 250, 500, 999, 1000)
    wanted = [exact(n) for n in draws]
    assert expected_best(values, draws, "max") == pytest.approx(wanted, rel=1e-9)


def test_the_expected_best_is_not_biased() -> None:
    """Over all samples of three tosses of a coin, the larger of two is 1 in 3 of 4 cases.

    The estimator with replacement has 0.675 here.
    """
    samples = list(itertools.product((0.0, 1.0), repeat=3))
    mean = statistics.fmean(expected_best(sample, [2], "max")[0] for sample in samples)
    assert mean == pytest.approx(0.75)


def groups_of(written: "Written") -> list[Group]:
    sweeps = read_sweeps([written.folder.path])
    return row_groups(sweeps, read_searches(sweeps))


def test_which_trials_count_with_what(written: "Written") -> None:
    written.describe(trials=9)
    search(written, 0, (0.5, 0.7))
    written.ended(0, validation=0.9, lr=0.5, result={"outcome": "stopped"})
    written.failed(0, lr=0.6)  # diverged
    written.failed(0, kind="memory", lr=0.7)
    written.running(0, lr=0.8)
    written.waiting(0, lr=0.9)
    written.ended(0, "final", validation=0.1, lr=0.01, seed=5)
    written.failed(1)
    first, second, third = groups_of(written)
    values, budget = drawn_values(first, "validation_accuracy", "max")
    assert (sorted(values), budget) == ([0.5, 0.5, 0.7, 0.9], 4)
    losses = sorted(drawn_values(first, "validation_loss", "min").values)
    assert losses == pytest.approx([0.1, 0.3, 0.5, 0.5])
    assert drawn_values(second, "validation_accuracy", "max") == ([], 0)
    assert drawn_values(third, "validation_accuracy", "max") == ([], 0)


def test_a_trial_that_ended_without_a_finite_value_has_the_worst(written: "Written") -> None:
    written.describe(trials=3, select="validation_loss")
    for lr, loss in ((0.1, 0.4), (0.2, None), (0.3, 0.6)):
        written.ended(0, lr=lr, result={"validation_loss": loss})
    (first, *_) = groups_of(written)
    assert drawn_values(first, "validation_loss", "min") == ([0.4, 0.6, 0.6], 3)


SURE, LUCKY = (0.85, 0.84, 0.83, 0.82), (0.9, 0.1, 0.1, 0.1)


def half_of(values: Sequence[float]) -> str:
    return f"{100 * brute_force(values, len(values) // 2, 'max'):.2f} %"


def compared(written: "Written", *rows: Sequence[float], **changes: Any) -> list[dict[str, str]]:
    """Return what is said of rows whose search trials have these validation accuracies."""
    written.rows = changes.pop(
        "rows", [{"model": "cnn", "filters": [8 * (place + 1)]} for place in range(len(rows))]
    )
    written.describe(rows=written.rows, trials=max(map(len, rows)), seeds=0, **changes)
    for number, values in enumerate(rows):
        search(written, number, values)
    return said(written)


def test_half_of_the_trials_may_have_found_another_best_row(written: "Written") -> None:
    assert (half_of(SURE), half_of(LUCKY)) == ("84.33 %", "50.00 %")
    assert compared(written, LUCKY, SURE) == [
        {
            "kind": "caution",
            "text": "With half of the trials, filters=16 instead of filters=8 would have been"
            " expected to have the best validation accuracy (84.33 % and 50.00 %; with all of them,"
            " 85.00 % and 90.00 %). More trials may change the order again.",
        }
    ]


def test_the_best_row_may_be_the_same_and_others_stand_in_another_order(
    written: "Written",
) -> None:
    best = (0.99, 0.98, 0.97, 0.96, 0.95)
    assert half_of(best) == "98.00 %"  # of two of the five
    assert compared(written, LUCKY, SURE, best) == [
        {
            "kind": "open",
            "text": "With half of the trials, filters=24 would have been expected to have the best"
            " validation accuracy too (98.00 %; with all of them, 99.00 %). 1 of the 3 pairs of"
            " rows would have stood in the other order.",
        }
    ]


def test_rows_that_are_level_are_no_change(written: "Written") -> None:
    level = (0.9, 0.8, 0.7, 0.6)
    (found,) = compared(written, LUCKY, level, level[::-1])
    assert found == {
        "kind": "open",
        "text": "With half of the trials, filters=16 would have been expected to have the best"
        " validation accuracy too (83.33 %; with all of them, 90.00 %, as for 2 other rows). None"
        " of the 3 pairs of rows would have stood in the other order.",
    }


def test_a_best_that_was_stopped_early_is_told(written: "Written") -> None:
    """Such a trial does not win its row, so the table has another best validation."""
    compared(written, SURE, (0.7, 0.6, 0.5))
    written.ended(1, validation=0.99, lr=0.3, result={"outcome": "stopped"})
    assert cell(written, "validation accuracy %", 1) == "70.00"
    (found,) = said(written)
    assert "with all of them, 85.00 % and 99.00 %)" in found["text"]
    assert found["text"].endswith(" Trials that were stopped early count here.")


def test_the_smallest_loss_is_the_best(written: "Written") -> None:
    (found,) = compared(written, LUCKY, SURE, select="validation_loss")
    assert found["text"].startswith(
        "With half of the trials, filters=16 instead of filters=8 would have been expected to have"
        " the best validation loss (0.1567 and 0.5000; with all of them, 0.1500 and 0.1000)."
    )


def test_rows_on_other_data_are_not_set_against_each_other(written: "Written") -> None:
    rows = [
        {"dataset": dataset, "model": model}
        for dataset in ("digits", "mnist")
        for model in ("cnn", "mlp")
    ]
    found = compared(written, LUCKY, SURE, SURE, LUCKY, rows=rows)
    assert ["instead of digits · cnn" in one["text"] for one in found] == [True, False]
    assert ["instead of mnist · mlp" in one["text"] for one in found] == [False, True]


def test_nothing_is_said_of_few_trials_or_of_one_row(written: "Written") -> None:
    assert compared(written, LUCKY, SURE[:3]) == []
    assert compared(written, LUCKY) == []


def test_of_several_searches_one_is_told(written: "Written") -> None:
    """All of a row's trials are drawn from, as many as one search has."""
    written.rows = TWO_ROWS
    written.describe(rows=TWO_ROWS, trials=4, searches=2, seeds=0)
    for number, both in enumerate(((LUCKY, LUCKY), (SURE, SURE))):
        for place, values in enumerate(both):
            for trial, value in enumerate(values):
                lr = 0.01 * (4 * place + trial + 1)
                written.ended(number, validation=value, search=place, lr=lr)
    half, full = (
        [f"{100 * brute_force(values * 2, n, 'max'):.2f} %" for values in (SURE, LUCKY)]
        for n in (2, 4)
    )
    assert full == ["84.77 %", "72.86 %"]  # not what all trials have found
    (found,) = said(written)
    assert found["text"] == (
        "With half of the trials, mlp would have been expected to have the best validation accuracy"
        f" too ({half[0]}; with all of them, {full[0]})."
    )


def test_a_row_that_failed_does_not_silence_the_others(written: "Written") -> None:
    rows = [*TWO_ROWS, {"model": "cnn", "filters": [8]}]
    compared(written, LUCKY, SURE, (), rows=rows)
    written.failed(2)
    (found,) = said(written)
    assert "pairs" not in found["text"]
