"""The table: what is in a cell, what is not, and that it says so."""

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from fieldtrial.results.table.command import main
from fieldtrial.results.table.files import write_table
from fieldtrial.results.table.render import render_markdown, render_terminal
from tests.results.cells import TEST, VALIDATION, cell, footer, own_table, row

if TYPE_CHECKING:
    from tests.results.conftest import Written

GOLDEN = (Path(__file__).parents[1] / "golden.md").read_text()


def test_golden_markdown(complete: "Written") -> None:
    assert render_markdown(own_table(complete.folder).grid) == GOLDEN


def test_one_final_run_has_no_interval(written: "Written") -> None:
    written.describe(seeds=1)
    written.ended(0, lr=0.1)
    written.ended(0, lr=0.2)
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=1)
    assert cell(written, TEST) == "60.00 (n=1)"
    assert row(written)["test_accuracy_half_width_seeds"] is None


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
    assert "2 trials failed: diverged, such as" in footer(written)


def test_a_final_run_without_a_test_result_is_counted(written: "Written") -> None:
    written.describe(seeds=2, trials=1)
    written.ended(0, lr=0.1)
    written.ended(0, "final", 0.3, 0.61, lr=0.1, seed=1)
    written.ended(0, "final", 0.3, None, lr=0.1, seed=2)
    assert cell(written, TEST) == "61.00 (n=1, 1 without a test result)"


def test_missing_cells_say_why(written: "Written") -> None:
    written.describe()
    for lr in (
        0.1,
        0.2,
    ):  # the first row has failed, the second is under way, the third has not begun
        written.failed(0, lr=lr)
    written.ended(1, validation=0.4, lr=0.1)
    written.running(1, lr=0.2)
    assert cell(written, TEST, 0) == "all 2 trials failed: diverged: the loss is nan at step 12"
    assert cell(written, VALIDATION, 0) == "–"
    assert (cell(written, VALIDATION, 1), cell(written, TEST, 1)) == ("40.00", "1 of 2 searched")
    assert cell(written, TEST, 2) == "not started"
    assert [row(written, number)["validation_accuracy"] for number in range(3)] == [None, 0.4, None]
    assert row(written, 2)["note"] == "not started"


def test_failures_of_several_kinds_are_counted(written: "Written") -> None:
    written.describe(trials=3)
    written.failed(0, lr=0.1)
    written.failed(0, lr=0.2, kind="memory", message="out of device memory")
    (written.ended(0, lr=0.3).path / "config.json").unlink()
    assert cell(written, TEST) == "all 3 trials failed: 1 diverged, 1 memory, 1 unreadable"
    assert "1 trial left out: unreadable" in footer(written)


def test_final_runs_under_way(written: "Written") -> None:
    written.describe()
    written.ended(0, lr=0.1)
    written.failed(0, lr=0.2)
    assert cell(written, TEST) == "final: 3 not started"
    written.running(0, "final", lr=0.1, seed=1)
    assert cell(written, TEST) == "final: 1 running or interrupted, 2 not started"
    written.ended(0, "final", 0.3, 0.6, lr=0.1, seed=2)
    assert cell(written, TEST) == "60.00 (n=1, 1 running or interrupted, 1 not started)"


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


def test_rows_name_all_their_fields_in_order(written: "Written") -> None:
    written.describe(
        rows=[{"optimizer": "sgd"}, {"batch_size": 16, "filters": [8, 16, 32, 64, 128]}]
    )
    grid = own_table(written.folder).grid
    assert grid.header[:3] == ["optimizer", "batch_size", "filters"]
    assert [[cell.text for cell in line[:3]] for line in grid.rows] == [
        ["sgd", "64", "32"],
        ["adamw", "16", "8,16,32,64,128"],
    ]


def test_csv_has_full_precision(complete: "Written") -> None:
    path, _ = write_table(complete.folder, own_table(complete.folder))
    first = next(csv.DictReader(io.StringIO(path.read_text())))
    assert (
        float(first["test_accuracy_half_width_seeds"])
        == row(complete)["test_accuracy_half_width_seeds"]
    )
    assert float(first["lr"]) == 0.01
    assert (first["parameters"], first["trainable_parameters"], first["n"]) == (
        "1985770",
        "2570",
        "3",
    )
    assert (first["winner"], first["note"]) == (complete.trial(0, lr=0.01), "")


def test_empty_and_given_values_differ_in_csv(written: "Written") -> None:
    written.describe(
        search={"gradient_clip": "choice(none, 1.0)", "batch_norm": "choice(true, false)"}, trials=1
    )
    written.ended(0, gradient_clip=None, batch_norm=False)
    path, _ = write_table(written.folder, own_table(written.folder))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(line["gradient_clip"], line["batch_norm"]) for line in rows] == [
        ("none", "false"),
        ("", ""),
        ("", ""),
    ]


def test_markdown_shows_patterns_as_they_are(written: "Written") -> None:
    pattern = r"pattern:_a_|b\.*<c>[0-9]"
    written.describe(rows=[{"freeze": pattern}])
    line = next(
        line
        for line in render_markdown(own_table(written.folder).grid).splitlines()
        if "pattern" in line
    )
    cells = re.split(r"(?<!\\)\|", line)
    assert len(cells) == 2 + len(own_table(written.folder).grid.header)
    assert cells[1].strip() == r"pattern:\_a\_\|b\\.\*\<c\>\[0-9\]"


def test_long_messages_are_cut_for_people_only(written: "Written") -> None:
    written.describe(trials=1)
    written.failed(0, kind="error", message="x" * 500)
    assert len(cell(written, TEST)) <= 80
    assert "x" * 500 in row(written)["note"]


def test_terminal_shows_every_cell(complete: "Written") -> None:
    complete.describe(rows=[{"freeze": "pattern:[bold]fc"}], name="[red]name")
    grid = own_table(complete.folder).grid
    console = Console(file=io.StringIO(), width=400)
    console.print(render_terminal(grid))
    output = console.file.getvalue()  # type: ignore[attr-defined]
    texts = [cell.text for line in grid.rows for cell in line]
    for text in (*texts, *grid.footer, "[red]name"):
        assert text in output


def test_a_narrow_terminal_shows_whole_columns_and_names_the_others(complete: "Written") -> None:
    grid = own_table(complete.folder).grid

    def shown(width: int, **how: Any) -> tuple[list[str], str]:
        """The lines, and what is said to be left out."""
        console = Console(file=io.StringIO(), width=width, **how)
        console.print(render_terminal(grid))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert all(cell_len(line) <= width for line in lines)
        text = " ".join(line.strip() for line in lines)
        _, _, after = text.partition("left out at this width: ")
        return lines, after.partition(grid.caption[:20])[0]

    terminal: dict[str, Any] = {"force_terminal": True, "color_system": None}
    lines, left_out = shown(80, **terminal)
    assert any("60.00 ± 4.97" in line for line in lines)
    kept = [name for name in grid.header if name not in left_out]
    assert kept[: grid.fields] == list(grid.header[: grid.fields])
    assert TEST in kept
    assert grid.header[-1] not in kept
    assert shown(400, **terminal)[1] == ""
    assert shown(80)[1] == ""  # a file has all


def test_main_prints_the_table_and_the_paths(
    complete: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    path = complete.folder.path
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("60.00 ± 4.97 (n=3)" in line for line in lines)
    assert lines[-3:] == [
        str(path / "table.csv"),
        str(path / "table.md"),
        f"tensorboard --logdir {path}",
    ]
    assert (path / "table.md").read_text() == GOLDEN


def test_main_handles_a_sweep_without_trials(
    written: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    written.describe()
    assert main([str(written.folder.path)]) == 0
    output = capsys.readouterr().out
    assert output.count("not started") == 3
    assert "No trial has been started." in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"sweep\.json: no such file, so \S+ is not the folder of a sweep \(runs/NAME\)"),
        ('{"rows": []}', r"sweep\.json: lacks name, base, search, trials, seeds, select"),
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
