"""Names that mean no good, in every form that a table has."""

import csv
import io
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from rich.console import Console

from fieldtrial.command_line import complain
from fieldtrial.panel.terminal import console, plain
from fieldtrial.results.read.trials import load
from fieldtrial.results.table import command
from fieldtrial.results.table.render import (
    Cell,
    Grid,
    escape_latex,
    escape_markdown,
    render_markdown,
)
from fieldtrial.results.table.spreadsheet import to_csv
from tests.job_commands import main_of

if TYPE_CHECKING:
    from tests.results.conftest import Written

NAUGHTY = "\x1b]0;owned\x07\x9b2J\u202e[red]$(x)"
FORMULAS = [
    "=1+2",
    "+A1",
    "-A1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\n=1",
    "＝1",
    "=cmd|' /C x'!A",
    "a;=1+1",
    "a; -B2;b",
]


def test_no_text_of_a_csv_file_is_a_formula() -> None:
    frame = pd.DataFrame({"=head": FORMULAS, "n": range(len(FORMULAS))})
    head, *rows = csv.reader(io.StringIO(to_csv(frame)))
    assert head == ["'=head", "n"]
    for (text, number), given, place in zip(rows, FORMULAS, range(len(FORMULAS)), strict=True):
        assert number == str(place)
        for cell in text.split(";"):  # as some spreadsheets do
            assert cell[0] == "'" or not cell.strip().startswith(("=", "+", "-", "@", "＝"))
        assert given.strip() in text.replace(";'", ";")


def test_numbers_of_a_csv_file_stay_numbers() -> None:
    texts = ["-1", "+1.5", "-1e-3", "-.5", "a-b", "none", "−1.2 to +3.4"]
    numbers = [-1.0, 0.1, float("nan"), 1e-30, -0.5, 3, 2]
    frame = pd.DataFrame({"text": texts, "number": numbers, "mixed": [1, None, "x", *texts[:4]]})
    assert to_csv(frame) == frame.to_csv(index=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b x_ _y __0__ a__b", r"a_b x\_ \_y \_\_0\_\_ a\_\_b"),
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("[a](javascript:alert(1))", r"\[a\](javascript:alert(1))"),
        ("![a](https://x.org)", r"!\[a\](https\://x.org)"),
        ("&lt; $x$ `y` a|b www.x.org", r"\&lt; \$x\$ \`y\` a\|b www\.x.org"),
        ("a\nb\x1b[1m", r"a b\\x1b\[1m"),
    ],
)
def test_markdown_shows_what_it_is_given(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def test_a_paragraph_of_markdown_begins_nothing_else() -> None:
    grid = Grid("# t", "1. c", ["- a"], 1, [[Cell("# x")]], ["- f", "=g", "2) h"])
    text = render_markdown(grid)
    assert text.startswith("# \\# t\n\n1\\. c\n\n| - a |")
    assert text.endswith("- \\- f\n- \\=g\n- 2\\) h\n")


def test_latex_runs_no_command() -> None:
    assert escape_latex(r"\input{/etc/passwd}%$&#_^~") == (
        r"\textbackslash{}input\{/etc/passwd\}\%\$\&\#\_\textasciicircum{}\textasciitilde{}"
    )
    assert escape_latex("^^5cinput") == r"\textasciicircum{}\textasciicircum{}5cinput"
    assert "\x1b" not in escape_latex(NAUGHTY)


def test_nothing_that_is_printed_is_a_terminals_command(
    written: "Written", capsys: pytest.CaptureFixture[str]
) -> None:
    written.describe(name=NAUGHTY)
    written.ended(0, lr=0.1)
    written.failed(0, message=NAUGHTY, lr=0.2)
    written.failed(1, kind=NAUGHTY, message="m", lr=0.3)
    folder = str(written.folder.path)
    assert main_of("status.py")([folder]) == 0
    for form in command.FORMATS:
        assert command.main([folder, "--format", form]) == 0
        printed = capsys.readouterr().out
        assert not set("\x1b\x07\x9b\u202e") & set(printed), form
        assert form in ("csv", "pairs") or "]0;owned" in printed.replace("\\]", "]").replace(
            "{]}", "]"
        )
    assert not set("\x1b\x07\x9b\u202e") & set(written.folder.long_table_path.read_text())
    assert load(folder)["error_message"].tolist()[1] == NAUGHTY
    complain(NAUGHTY)
    assert capsys.readouterr().err == "error: \\x1b]0;owned\\x07\\x9b2J\\u202e[red]$(x)\n"


def test_a_console_prints_no_markup_and_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(f"a {NAUGHTY}\nb")
    assert capsys.readouterr().out == "a \\x1b]0;owned\\x07\\x9b2J\\u202e[red]$(x)\nb\n"
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=80).print(plain(NAUGHTY))
    assert file.getvalue().count("\x1b") == 0
