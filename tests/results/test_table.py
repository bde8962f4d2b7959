"""The table: what is in a cell, what is not, and that it says so."""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from fieldtrial.results.summary import Row, summarise
from fieldtrial.results.table import human_cells, main, render_markdown, render_terminal, write_table

if TYPE_CHECKING:
    from tests.results.conftest import Written

VALIDATION, TEST = "validation accuracy %", "test accuracy %"

GOLDEN = (Path(__file__).parent / "golden.md").read_text()


def row(written: "Written", number: int = 0) -> Row:
    return {str(name): value for name, value in summarise(written.folder).rows.to_dict("records")[number].items()}


def cell(written: "Written", column: str, number: int = 0) -> str:
    return str(human_cells(summarise(written.folder))[column][number])


def footer(written: "Written") -> str:
    return "\n".join(summarise(written.folder).footer)


def test_golden_markdown(complete: "Written") -> None:
    assert render_markdown(summarise(complete.folder)) == GOLDEN


def test_validation_is_the_winners_and_test_is_the_final_runs(complete: "Written") -> None:
    first = row(complete)
    assert first["validation_accuracy"] == 0.90  # the final runs have 0.3
    assert first["test_accuracy_mean"] == pytest.approx(0.60)  # the search trials have 0.01 and 0.02
    assert first["test_accuracy_half_width_95"] == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-6)
    assert first["n"] == 3
    assert first["winner"] == complete.trial(0, lr=0.01)
    assert first["minutes"] == pytest.approx(2.0)  # of the final runs: 1, 2 and 3


def test_the_winner_is_chosen_by_validation_not_by_test(written: "Written") -> None:
    written.describe()
    written.ended(0, validation=0.8, test=0.9, lr=0.1)
    best = written.ended(0, validation=0.9, test=0.1, lr=0.2)
    assert row(written)["winner"] == best.name


def test_a_final_run_is_never_the_winner(complete: "Written") -> None:
    complete.ended(0, "final", validation=0.99, test=0.6, lr=0.01, seed=103)
    assert row(complete)["validation_accuracy"] == 0.90
    assert row(complete)["n"] == 4


def test_a_trial_trained_to_the_end_goes_before_a_better_one_that_was_stopped(written: "Written") -> None:
    written.describe()
    stopped = written.ended(0, validation=0.9, result={"outcome": "stopped", "reason": "stop file"}, lr=0.1)
    assert row(written)["winner"] == stopped.name
    finished = written.ended(0, validation=0.8, lr=0.2)
    assert row(written)["winner"] == finished.name


def test_the_winner_that_the_sweep_named_is_the_winner(written: "Written") -> None:
    written.describe()
    first = written.ended(0, validation=0.8, lr=0.1)
    second = written.ended(0, validation=0.9, lr=0.2)
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=1)
    assert (row(written)["winner"], row(written)["n"]) == (second.name, 0)
    written.folder.list_trial(first.name, 0, "winner")
    named = row(written)
    assert (named["winner"], named["validation_accuracy"], named["lr"], named["n"]) == (first.name, 0.8, 0.1, 1)
    assert "2 search (2 finished), 1 final (1 finished)." in footer(written)  # naming it is no trial of its own
    written.folder.list_trial(second.name, 0, "winner")  # the search went on
    assert row(written)["winner"] == second.name


def test_a_search_that_proposed_a_trial_again_is_complete(written: "Written") -> None:
    written.describe(trials=4, seeds=0)
    run = written.ended(0, lr=0.1)
    assert row(written)["note"] == "1 of 4 searched"
    written.folder.list_trial(run.name, 0, "winner")
    assert row(written)["note"] == "no final runs asked for"
    assert "3 duplicates: a search proposed what it had tried" in footer(written)
    written.running(0, lr=0.2)
    assert row(written)["note"] == "1 of 4 searched"
    assert "duplicate" not in footer(written)


def test_a_search_that_goes_on_after_a_winner_was_named_is_not_over(written: "Written") -> None:
    written.describe(trials=2, seeds=0)
    first = written.ended(0, validation=0.9, lr=0.1)
    written.ended(0, lr=0.2)
    written.folder.list_trial(first.name, 0, "winner")
    written.describe(trials=20, seeds=0)  # the sweep was given more trials, and was interrupted
    written.ended(0, lr=0.3)
    assert (row(written)["note"], row(written)["winner"]) == ("3 of 20 searched", first.name)
    assert "duplicate" not in footer(written)
    written.folder.list_trial(first.name, 0, "winner")  # and went on, to the same winner
    assert row(written)["note"] == "no final runs asked for"
    assert "17 duplicates: a search proposed what it had tried" in footer(written)


def test_a_search_that_is_over_without_a_winner_says_why(written: "Written") -> None:
    written.describe(trials=4)
    for lr in (0.1, 0.2, 0.3):  # the fourth was a duplicate
        written.failed(0, lr=lr)
    assert cell(written, VALIDATION) == "3 of 4 searched, 3 failed"
    written.folder.list_trial(None, 0, "winner")
    assert cell(written, VALIDATION) == "all 3 trials failed: diverged: the loss is nan at step 12"
    assert (cell(written, TEST), row(written)["n"]) == ("no winner", 0)
    assert "1 duplicate: a search proposed what it had tried" in footer(written)
    assert "Trials: 3 search (3 failed)." in footer(written)  # naming none is no trial
    written.ended(0, lr=0.4)
    written.folder.list_trial(written.trial(0, lr=0.4), 0, "winner")  # a failed one was tried again
    assert row(written)["winner"] == written.trial(0, lr=0.4)


def test_no_trial_is_the_winner_if_the_sweep_says_so(written: "Written") -> None:
    written.describe()
    written.failed(0, lr=0.1)
    written.ended(0, lr=0.2, result={"outcome": "stopped", "reason": "stop file", "epochs": 0})
    written.folder.list_trial(None, 0, "winner")
    written.folder.list_trial(None, 1, "winner")
    assert row(written)["winner"] is None
    assert cell(written, VALIDATION) == "none of 2 trials can be the winner, 1 failed"
    assert cell(written, VALIDATION, 1) == "none of 0 trials can be the winner, 0 failed"


def test_a_row_whose_source_failed_says_why(written: "Written") -> None:
    rows = written.describe().require_description()["rows"]  # two of a CNN, one of an MLP
    written.describe(rows=[*rows, {"model": "mlp", "freeze": "first:1"}])
    failed = written.failed(None, "source", model="mlp", classes="5")
    message = f"its source {failed.name} failed: diverged: the loss is nan at step 12"
    assert cell(written, VALIDATION, 3) == message
    good = written.ended(None, "source", model="cnn", classes="5")
    assert [cell(written, VALIDATION, number) for number in range(4)] == ["not started"] * 2 + [message] * 2
    assert cell(written, TEST, 3) == "no winner"
    written.running(0, weights=f"run:{good.name}")
    assert cell(written, VALIDATION) == "0 of 2 searched"


def test_ties_go_to_the_trial_that_was_listed_first(written: "Written") -> None:
    written.describe()
    first = written.ended(0, validation=0.8, lr=0.3)
    written.ended(0, validation=0.8, lr=0.1)
    assert row(written)["winner"] == first.name


def test_the_loss_can_select(written: "Written") -> None:
    written.describe(select="validation_loss", mode="min")
    written.ended(0, validation=0.9, result={"validation_loss": 0.7}, lr=0.1)
    best = written.ended(0, validation=0.8, result={"validation_loss": 0.6}, lr=0.2)
    for seed, loss in enumerate((0.5, 0.6, 0.7)):
        written.ended(0, "final", 0.3, 0.9, {"test_loss": loss, "validation_loss": 9.0}, lr=0.2, seed=seed + 1)
    first = row(written)
    assert (first["winner"], first["validation_loss"]) == (best.name, 0.6)
    assert first["test_loss_mean"] == pytest.approx(0.6)
    assert "test_accuracy_mean" not in first
    assert cell(written, "validation loss") == "0.6000"
    assert cell(written, "test loss") == "0.6000 ± 0.2484 (n=3)"


def test_final_runs_of_an_earlier_winner_are_left_out_and_counted(complete: "Written") -> None:
    complete.describe(trials=3)
    complete.ended(0, validation=0.95, lr=0.05)
    complete.ended(0, "final", 0.3, 0.7, lr=0.05, seed=100)
    first = row(complete)
    assert (first["lr"], first["n"], first["test_accuracy_mean"]) == (0.05, 1, 0.7)
    assert first["final_left_out"] == 3
    assert "3 final runs left out: not of the present winner" in footer(complete)


def test_an_early_stopped_trial_can_win_but_not_be_a_final_run(written: "Written") -> None:
    stopped = {"outcome": "stopped", "reason": "stop file"}
    written.describe()
    best = written.ended(0, validation=0.8, result=stopped, lr=0.1)
    written.ended(0, validation=0.7, result=stopped, lr=0.2)
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=1)
    written.ended(0, "final", 0.3, 0.7, lr=0.1, seed=2)
    written.ended(0, "final", 0.3, 0.1, stopped, lr=0.1, seed=3)
    assert row(written)["winner"] == best.name
    assert cell(written, TEST) == "65.00 (n=2, 1 stopped early)"
    assert "2 trials stopped early" in footer(written)


def test_one_final_run_has_no_interval(written: "Written") -> None:
    written.describe(seeds=1)
    written.ended(0, lr=0.1)
    written.ended(0, lr=0.2)
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=1)
    assert cell(written, TEST) == "60.00 (n=1)"
    assert row(written)["test_accuracy_half_width_95"] is None


def test_failed_final_runs_are_counted_in_the_cell(written: "Written") -> None:
    written.describe()
    written.ended(0, validation=0.9, lr=0.1)
    written.failed(0, lr=0.2)
    written.ended(0, "final", 0.3, 0.61, lr=0.1, seed=1)
    written.ended(0, "final", 0.3, 0.63, lr=0.1, seed=2)
    written.failed(0, "final", lr=0.1, seed=3)
    assert cell(written, TEST) == "62.00 (n=2, 1 failed)"
    assert row(written)["final_failed"] == 1
    assert row(written)["note"] == "final: 1 failed"
    assert "2 trials left out: diverged, such as" in footer(written)


def test_a_final_run_without_a_test_result_is_counted(written: "Written") -> None:
    written.describe(seeds=2, trials=1)
    written.ended(0, lr=0.1)
    written.ended(0, "final", 0.3, 0.61, lr=0.1, seed=1)
    written.ended(0, "final", 0.3, None, lr=0.1, seed=2)
    assert cell(written, TEST) == "61.00 (n=1, 1 without a test result)"


def test_missing_cells_say_why(written: "Written") -> None:
    written.describe()
    for lr in (0.1, 0.2):  # the first row has failed, the second is under way, the third has not begun
        written.failed(0, lr=lr)
    written.ended(1, validation=0.4, lr=0.1)
    written.running(1, lr=0.2)
    assert cell(written, VALIDATION, 0) == "all 2 trials failed: diverged: the loss is nan at step 12"
    assert cell(written, TEST, 0) == "no winner"
    assert (cell(written, VALIDATION, 1), cell(written, TEST, 1)) == ("40.00", "1 of 2 searched")
    assert cell(written, VALIDATION, 2) == "not started"
    assert [row(written, number)["validation_accuracy"] for number in range(3)] == [None, 0.4, None]
    assert row(written, 2)["note"] == "not started"


def test_failures_of_several_kinds_are_counted(written: "Written") -> None:
    written.describe(trials=3)
    written.failed(0, lr=0.1)
    written.failed(0, lr=0.2, kind="memory", message="out of device memory")
    (written.ended(0, lr=0.3).path / "config.json").unlink()
    assert cell(written, VALIDATION) == "all 3 trials failed: 1 diverged, 1 memory, 1 unreadable"
    assert "1 trial left out: unreadable" in footer(written)


def test_final_runs_under_way(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    written.failed(0, lr=0.2)
    assert cell(written, TEST) == "final: 3 not started"
    written.running(0, "final", lr=0.1, seed=1)
    assert cell(written, TEST) == "final: 1 running, 2 not started"
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=2)
    assert cell(written, TEST) == "60.00 (n=1, 1 running, 1 not started)"


def test_all_final_runs_failed(written: "Written") -> None:
    written.describe(trials=1)
    written.ended(0, lr=0.1)
    for seed in (1, 2, 3):
        written.failed(0, "final", "memory", "out of device memory", lr=0.1, seed=seed)
    assert cell(written, TEST) == "all 3 final runs failed: memory: out of device memory"


def test_a_sweep_without_final_runs(written: "Written") -> None:
    written.describe(seeds=0, trials=1)
    written.ended(0, lr=0.1, result={"minutes": 0.00123})
    assert (cell(written, TEST), cell(written, "minutes")) == ("no final runs asked for", "0.0012")


def test_a_row_that_is_not_searched_has_one_trial(written: "Written") -> None:
    written.describe(search={}, trials=8)
    written.ended(0)
    assert cell(written, TEST) == "final: 3 not started"


def test_trials_that_rows_share_are_counted(complete: "Written") -> None:
    complete.folder.list_trial(complete.trial(0, lr=0.01), 2, "search")
    assert row(complete, 2)["validation_accuracy"] == 0.90
    assert "1 duplicate: rows share a trial" in footer(complete)


def test_trials_of_no_row_are_counted(complete: "Written") -> None:
    complete.describe(rows=[{"model": "cnn", "freeze": "none"}])
    complete.ended(None, "source", seed=7)
    lines = footer(complete)
    assert len(summarise(complete.folder).rows) == 1
    assert "10 trials left out: of no row that the sweep has now" in lines
    assert "6 search (6 finished), 9 final (9 finished), 1 source (1 finished)" in lines


def test_rows_name_all_their_fields_in_order(written: "Written") -> None:
    written.describe(rows=[{"optimizer": "sgd"}, {"batch_size": 16, "filters": [8, 16, 32, 64, 128]}])
    cells = human_cells(summarise(written.folder))
    assert list(cells)[:3] == ["optimizer", "batch_size", "filters"]
    assert cells.iloc[:, :3].to_numpy().tolist() == [["sgd", "64", "32"], ["adamw", "16", "8,16,32,64,128"]]


def test_csv_has_full_precision(complete: "Written") -> None:
    path, _ = write_table(complete.folder, summarise(complete.folder))
    first = next(csv.DictReader(io.StringIO(path.read_text())))
    assert float(first["test_accuracy_half_width_95"]) == row(complete)["test_accuracy_half_width_95"]
    assert float(first["lr"]) == 0.01
    assert (first["parameters"], first["trainable_parameters"], first["n"]) == ("1985770", "2570", "3")
    assert (first["winner"], first["note"]) == (complete.trial(0, lr=0.01), "")


def test_empty_and_given_values_differ_in_csv(written: "Written") -> None:
    written.describe(search={"gradient_clip": "choice(none, 1.0)", "batch_norm": "choice(true, false)"}, trials=1)
    written.ended(0, gradient_clip=None, batch_norm=False)
    path, _ = write_table(written.folder, summarise(written.folder))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(line["gradient_clip"], line["batch_norm"]) for line in rows] == [("none", "false"), ("", ""), ("", "")]


def test_markdown_shows_patterns_as_they_are(written: "Written") -> None:
    pattern = r"pattern:_a_|b\.*<c>[0-9]"
    written.describe(rows=[{"freeze": pattern}])
    line = next(line for line in render_markdown(summarise(written.folder)).splitlines() if "pattern" in line)
    cells = re.split(r"(?<!\\)\|", line)
    assert len(cells) == 2 + len(human_cells(summarise(written.folder)).columns)
    assert cells[1].strip() == r"pattern:\_a\_\|b\\.\*\<c\>\[0-9\]"


def test_long_messages_are_cut_for_people_only(written: "Written") -> None:
    written.describe(trials=1)
    written.failed(0, kind="error", message="x" * 500)
    assert len(cell(written, VALIDATION)) <= 80
    assert "x" * 500 in row(written)["note"]


def test_terminal_shows_every_cell(complete: "Written") -> None:
    complete.describe(rows=[{"freeze": "pattern:[bold]fc"}], name="[red]name")
    summary = summarise(complete.folder)
    console = Console(file=io.StringIO(), width=200)
    console.print(render_terminal(summary))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (*human_cells(summary).to_numpy().flatten(), *summary.footer, "[red]name"):
        assert str(text) in output


def test_main_prints_the_table_and_the_paths(complete: "Written", capsys: pytest.CaptureFixture[str]) -> None:
    path = complete.folder.path
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("60.00 ± 4.97 (n=3)" in line for line in lines)
    assert lines[-3:] == [str(path / "table.csv"), str(path / "table.md"), f"tensorboard --logdir {path}"]
    assert (path / "table.md").read_text() == GOLDEN


def test_main_handles_a_sweep_without_trials(written: "Written", capsys: pytest.CaptureFixture[str]) -> None:
    written.describe()
    assert main([str(written.folder.path)]) == 0
    output = capsys.readouterr().out
    assert output.count("not started") == 3
    assert "No trial has been started." in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"sweep\.json: no such file, so \S+ is not the folder of a sweep \(runs/NAME\)"),
        ('{"rows": []}', r"the sweep has no rows, so it has no table"),
        ('{"rows": [', r"sweep\.json: not a JSON file"),
    ],
)
def test_main_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    assert re.search(message, errors)
    assert list(tmp_path.glob("table.*")) == []


def test_trials_whose_batches_were_cut_are_named_once(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    assert "batches cut" not in footer(written)
    cut = written.ended(0, lr=0.2, result={"accumulate": 2})
    other = written.ended(1, lr=0.2, result={"accumulate": 8, "outcome": "stopped"})
    written.folder.list_trial(cut.name, 1, "search")
    assert f"2 trials ran with their batches cut: they did not fit at once: {cut.name}, {other.name}." in footer(
        written
    )
