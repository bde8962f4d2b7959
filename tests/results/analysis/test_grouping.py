"""Groups of a sweep's rows, beside those of field values: what is one line of its own table."""

from pathlib import Path

import numpy as np
import pytest

from fieldtrial.results.analysis.footer import comparison_lines
from fieldtrial.results.analysis.grouping import group_rows, group_trials
from fieldtrial.results.read.sweeps import read_sweeps
from tests.results.cells import column, footer, own_table
from tests.results.conftest import Written

TEST = "test_accuracy"


def test_rows_with_equal_values_are_a_group_each(written: Written) -> None:
    written.rows = [{"model": "cnn"}, {"model": "cnn"}, {"model": "mlp"}]
    written.describe(rows=written.rows, trials=1)
    for row, validation in ((0, 0.9), (2, 0.8)):
        written.ended(row, validation=validation)
        for seed in (1, 2, 3):
            written.ended(row, "final", 0.3, validation - 0.01 * seed, seed=seed)
    for entry in [entry for entry in written.folder.trials() if entry["row"] == 0]:
        written.folder.list_trial(entry["trial"], 1, entry["role"])
    sweeps = read_sweeps([written.folder.path])
    groups = group_rows(sweeps)
    assert [group.key for group in groups.groups] == [("cnn",), ("cnn",), ("mlp",)]
    assert [group.mark for group in groups.groups] == ["best", "not shown to differ", "worse"]
    assert [len(group.values) for group in groups.groups] == [3, 3, 3]
    line = "4 duplicates: rows share a trial, which ran once and is counted in each row."
    assert line in groups.notes
    assert [group.key for group in group_trials(sweeps, ["model"], TEST).groups] == [
        ("cnn",),
        ("mlp",),
    ]


def test_trials_that_cannot_be_read_count_in_their_row(written: Written) -> None:
    written.describe(trials=1)
    (written.ended(0).path / "config.json").unlink()
    written.folder.list_trial("0badcafe", 1, "search")
    groups = group_rows(read_sweeps([written.folder.path])).groups
    assert [group.counts["search_trials"] for group in groups] == [1, 1, 0]
    assert groups[0].note.startswith("the only trial failed: unreadable: ")
    assert [group.note for group in groups[1:]] == ["not started", "not started"]


def test_a_row_whose_trials_were_tested_on_different_data_is_not_compared(
    written: Written,
) -> None:
    written.describe(search={"dataset": "choice(digits, mnist)"})
    for dataset in ("digits", "mnist"):
        written.ended(0, dataset=dataset)
    written.ended(1)
    for row in (0, 1):
        for seed in (1, 2, 3):
            written.ended(row, "final", 0.3, 0.9, dataset="digits", seed=seed)
    groups = group_rows(read_sweeps([written.folder.path]))
    assert [group.mark for group in groups.groups] == ["none"] * 3
    assert [len(group.values) for group in groups.groups] == [3, 3, 0]
    assert [group.interval and group.interval.mean for group in groups.groups] == [0.9, 0.9, None]
    (line,) = (line for line in groups.notes if line.startswith("Not compared: "))
    assert "model=cnn freeze=none: trials of dataset digits and mnist would be mixed" in line


def test_a_group_of_several_rows_says_how_far_their_searches_are(written: Written) -> None:
    written.describe(trials=2)
    written.ended(0, lr=0.1)
    written.ended(0, lr=0.2)
    written.failed(1, lr=0.1)
    sweeps = read_sweeps([written.folder.path])
    cnn, mlp = group_trials(sweeps, ["model"], TEST).groups
    assert cnn.note == "3 of 4 searched, 1 failed; final: 3 not started"
    assert mlp.note == "not started"
    written.folder.list_trial(None, 1, "winner")  # it is over, with a trial less than its budget
    cnn, _ = group_trials(read_sweeps([written.folder.path]), ["model"], TEST).groups
    assert (cnn.note, cnn.repeated) == ("final: 3 not started", 1)


def test_a_row_that_was_run_twice_says_the_tables_noise(complete: Written) -> None:
    complete.rows = [*complete.rows, complete.rows[0]]
    complete.describe(rows=complete.rows, aa=True)
    complete.ended(3, validation=0.88, lr=0.02, seed=10**6)
    for seed, test in enumerate((0.59, 0.62, 0.605)):
        complete.ended(3, "final", 0.3, test, lr=0.02, seed=10**6 + 1 + seed)
    table = own_table(complete.folder).groups
    assert table.noise is not None
    assert table.noise.difference == pytest.approx(0.605 - 0.60)
    assert not table.noise.shown
    assert len(table.row_comparisons) == 3  # the first row is the best: its noise is one of these
    assert len(table.every_comparison) == 3 + len(table.compared_fields)
    assert column(complete, "freeze") == ["none", "all_but_head", "none", "none again"]
    assert (
        "The table's own noise: the last row is the first once more, with other proposals and"
        " seeds, and differs by +0.5 points (" in footer(complete)
    )


def test_runs_over_other_data_are_not_averaged_into_a_row(written: Written) -> None:
    """The mean is that of the three runs over the winner's data, as NumPy has it."""
    written.describe()
    states = {row: {"data_digest": "1a2b", "test_images": 40} for row in range(3)}
    for row in range(3):
        written.ended(row, validation=0.9 - 0.1 * row, result=states[row])
        for seed, test in enumerate((0.80, 0.82, 0.84)):
            written.ended(row, "final", 0.3, test - 0.1 * row, states[row], seed=seed)
    written.ended(0, "final", 0.3, 0.2, {"data_digest": "3c4d", "libraries": "torch 9.9"}, seed=3)
    written.ended(0, "final", 0.3, 0.81, {"libraries": "torch 9.8"}, seed=4)  # it recorded none
    written.ended(0, "final", 0.3, 0.10, {"test_images": 42}, seed=5)  # of an earlier version
    groups = group_rows(read_sweeps([written.folder.path]))
    first = groups.groups[0]
    assert first.interval is not None
    assert first.interval.mean == pytest.approx(np.mean([0.80, 0.82, 0.84, 0.81]))
    assert "1 final run left out: of other data than the winner's" in first.note
    line = "2 final runs left out: of other data, initial weights or code than the winner's."
    assert line in groups.notes
    assert not [note for note in groups.notes if "without a finite" in note]


def test_rows_that_were_tested_on_other_states_of_the_data_are_not_compared(
    written: Written,
) -> None:
    written.describe()
    for row, state in enumerate(("1a2b", "1a2b", "3c4d")):
        result = {"data_digest": state}
        written.ended(row, validation=0.9 - 0.1 * row, result=result)
        for seed in range(3):
            test = 0.8 - 0.2 * row + 0.01 * seed
            written.ended(row, "final", 0.3, test, result, seed=seed)
    groups = group_rows(read_sweeps([written.folder.path]))
    assert [group.mark for group in groups.groups] == ["best", "worse", "untested"]
    (line,) = [line for line in comparison_lines(groups) if "states or cuts" in line]
    assert line.startswith("digits: rows were tested on 2 states or cuts of it")


def test_two_sweeps_of_the_same_trials_on_two_states_of_the_data_are_both_there(
    tmp_path: Path,
) -> None:
    for name, state, test in (("monday", "1a2b", 0.6), ("friday", "3c4d", 0.8)):
        sweep = Written(tmp_path / name)
        sweep.describe(rows=[{"model": "cnn"}], trials=1, seeds=2)
        for role, seed in (("search", 0), ("final", 1), ("final", 2)):
            sweep.ended(0, role, test, test, {"data_digest": state}, seed=seed)
    sweeps = read_sweeps([tmp_path / "monday", tmp_path / "friday"])
    together = group_trials(sweeps, [], TEST)
    assert list(together.groups[0].values.values()) == [0.8, 0.8]
    assert any(note.startswith("3 trials ran again on other data") for note in together.notes)
    assert not any("duplicate" in note for note in together.notes)
    apart = group_trials(sweeps, ["sweep"], TEST).groups
    assert [list(one.values.values()) for one in apart] == [[0.6, 0.6], [0.8, 0.8]]
