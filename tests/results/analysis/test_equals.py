"""What differs beside a table's own fields is not compared, and the fields are named."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fieldtrial.results.analysis.grouping import group_trials
from fieldtrial.results.analysis.groups import Groups
from fieldtrial.results.read.sweeps import Sweeps, parse_conditions, read_sweeps
from fieldtrial.results.table.tables import grouped_table

if TYPE_CHECKING:
    from tests.results.conftest import Written

TEST = "test_accuracy"
ROWS: list[dict[str, Any]] = [{"model": "cnn"}, {"model": "mlp"}]


def write(path: Path, middle: float, search: str = "loguniform(1e-4, 1e-1)", **base: Any) -> Path:
    """Write a sweep of two models that end far from each other, the second 0.1 below the first."""
    from tests.results.conftest import BASE, Written

    written = Written(path)
    written.rows = [base | row for row in ROWS]
    described = {"base": BASE.to_dict() | base, "rows": ROWS}
    written.describe(**described, search={"lr": search}, trials=1)
    for row, best in enumerate((middle, middle - 0.1)):
        written.ended(row, validation=best, lr=0.01)
        for seed, test in enumerate((best - 0.002, best, best + 0.002)):
            written.ended(row, "final", best, test, lr=0.01, seed=100 + seed)
    return path


def verdicts(groups: Groups) -> dict[tuple[str, ...], tuple[str, bool | None]]:
    return {group.key: (group.mark, group.in_best_set) for group in groups.groups}


def differences(groups: Groups) -> list[float]:
    return sorted(round(one.difference, 6) for one in groups.row_comparisons)


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({}, {"epochs": 30}, "epochs (3, 30)"),
        ({}, {"image_size": 64}, "image_size (64, none)"),
        ({}, {"train_fraction": 0.5, "batch_size": 8}, "train_fraction (0.5, 1.0) and batch_size"),
        (
            {},
            {"search": "loguniform(1e-3, 1e-1)"},
            "lr (searched in loguniform(0.0001, 0.1), searched in loguniform(0.001, 0.1))",
        ),
    ],
)
def test_rows_of_sweeps_that_differ_are_not_compared_and_the_fields_are_named(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], named: str
) -> None:
    paths = [write(tmp_path / "a", 0.9, **first), write(tmp_path / "b", 0.7, **second)]
    # The models of b have been left out of a, so that each cell is of one sweep.
    one, other = read_sweeps([paths[0]]), read_sweeps([paths[1]])
    together = read_sweeps(paths)
    groups = group_trials(_models_of(together, {"a": "cnn", "b": "mlp"}), ["model"], TEST)
    assert {group.mark for group in groups.groups} == {"untested"}
    assert groups.row_comparisons == []
    (line,) = groups.unequal
    assert line.startswith(f"Not compared with each other: rows that differ in {named}")
    assert "--rows or --columns with these compares across them, --where chooses" in line
    for alone in (one, other):  # what each sweep says by itself
        assert group_trials(alone, ["model"], TEST).unequal == []


def _models_of(sweeps: Sweeps, models: dict[str, str]) -> Sweeps:
    from dataclasses import replace

    kept = [models[sweep] == model for sweep, model in sweeps.trials[["sweep", "model"]].values]
    descriptions = {
        name: replace(one, rows=({"model": models[name]},))
        for name, one in sweeps.descriptions.items()
    }
    trials = sweeps.trials[kept].assign(row=0).astype({"row": "Int64"})
    return replace(sweeps, trials=trials, descriptions=descriptions)


def test_stars_and_tests_stay_within_equals(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a", 0.9), write(tmp_path / "b", 0.7, epochs=30)]
    sweeps = read_sweeps(paths)
    apart = group_trials(sweeps, ["sweep", "model"], TEST)
    expected = {
        ("a", "cnn"): ("best", True),
        ("a", "mlp"): ("worse", False),
        ("b", "cnn"): ("best", True),
        ("b", "mlp"): ("worse", False),
    }
    assert verdicts(apart) == expected
    assert differences(apart) == [-0.1, -0.1]
    assert "rows that differ in epochs (3, 30), which the table has not" in apart.unequal[0]
    across = group_trials(sweeps, ["epochs", "model"], TEST)  # asked for
    assert [mark for mark, _ in verdicts(across).values()] == ["best", "worse", "worse", "worse"]
    assert differences(across) == [-0.3, -0.2, -0.1]
    assert across.unequal == []
    chosen = sweeps.where(parse_conditions(["epochs=30"]))
    assert verdicts(group_trials(chosen, ["model"], TEST)) == {
        ("cnn",): ("best", True),
        ("mlp",): ("worse", False),
    }


def test_by_default_sweeps_are_compared_within_what_they_differ_in_as_a_whole(
    tmp_path: Path,
) -> None:
    paths = [
        write(tmp_path / "bees", 0.9, dataset="digits"),
        write(tmp_path / "digits", 0.7, dataset="mnist", epochs=30),
    ]
    sweeps = read_sweeps(paths)
    table = grouped_table(sweeps, sweeps.records())
    assert table.groups.fields == ("dataset", "epochs", "model")
    assert differences(table.groups) == [-0.1, -0.1]
    assert [group.mark for group in table.groups.groups] == ["best", "worse"] * 2
    assert (
        "Compared only among rows with equal dataset (digits, mnist) and epochs (3, 30). Scores on"
        " different data are not compared. --rows dataset,epochs,model compares across epochs."
    ) in table.grid.footer


def test_a_cell_of_several_settings_says_so_and_meets_its_like_only(complete: "Written") -> None:
    sweeps = read_sweeps([complete.folder.path])
    groups = group_trials(sweeps, ["model"], TEST)  # cnn with two schemes, mlp with one
    assert [group.mark for group in groups.groups] == ["untested", "untested"]
    assert groups.unequal == [
        "Not compared with each other: rows that differ in freeze (all_but_head, none), which the"
        " table has not. --rows or --columns with these compares across them, --where chooses among"
        " them.",
        "Rows of this table hold several settings of freeze (all_but_head, none): the winner is the"
        " best of them on validation.",
    ]
    chosen = sweeps.where(parse_conditions(["freeze=none"]))
    groups = group_trials(chosen, ["model"], TEST)
    assert [group.mark for group in groups.groups] == ["best", "worse"]
    assert groups.unequal == []


def test_a_sweep_among_the_fields_stands_for_what_was_searched(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a", 0.9),
        write(tmp_path / "b", 0.7, search="loguniform(1e-3, 1e-1)"),
    ]
    groups = group_trials(read_sweeps(paths), ["sweep", "model"], TEST)
    assert differences(groups) == [-0.3, -0.2, -0.1]
    assert groups.unequal == []
