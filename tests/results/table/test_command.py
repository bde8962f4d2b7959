"""The command that groups and pivots: its formats, and what it refuses in one line."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from fieldtrial.results.table.command import main
from fieldtrial.results.table.render import (
    Cell,
    Grid,
    escape_latex,
    render_html,
    render_latex,
    render_markdown,
)

if TYPE_CHECKING:
    from tests.results.conftest import Written

GOLDEN = Path(__file__).parents[1]
STRANGE = r"pattern:_a_|b\.*<c>[0-9]{2}$ & 5 % ~^#"


class Printed:
    """Runs the command and keeps what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> str:
        assert main(list(map(str, arguments))) == 0
        output, errors = self._capsys.readouterr()
        assert errors == ""
        return output

    def error(self, *arguments: object) -> str:
        assert main(list(map(str, arguments))) == 2
        output, errors = self._capsys.readouterr()
        assert output == ""
        return errors


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return Printed(capsys)


@pytest.fixture
def rich_table(complete: "Written") -> "Written":
    """The complete sweep with a stopped and a failed trial, and a row that has not begun."""
    complete.describe(rows=[*complete.rows, {"model": "mlp", "freeze": "first:1"}])
    complete.ended(0, validation=0.1, lr=0.5, result={"outcome": "stopped", "epochs": 1})
    complete.failed(1, lr=0.6)
    return complete


@pytest.mark.parametrize(
    ("name", "suffix"), [("markdown", "md"), ("latex", "tex"), ("html", "html"), ("csv", "csv")]
)
def test_golden(rich_table: "Written", printed: Printed, name: str, suffix: str) -> None:
    pivot = ["--columns", "freeze"] if suffix in ("tex", "csv") else []
    text = printed(
        rich_table.folder.path,
        "--rows",
        "model" if pivot else "model,freeze",
        *pivot,
        "--format",
        name,
    )
    assert text == (GOLDEN / f"grouped.{suffix}").read_text()


def test_the_terminal_shows_marks_and_lines(rich_table: "Written", printed: Printed) -> None:
    lines = printed(rich_table.folder.path, "--rows", "model", "--columns", "freeze").splitlines()
    assert any("60.00 ± 4.97 (n=3) *" in line and "50.00 ± 4.97 (n=3)" in line for line in lines)
    assert not any("50.00 ± 4.97 (n=3) *" in line for line in lines)
    assert any("not started" in line for line in lines)
    assert sum("compared with" in line for line in lines) == 1


def test_a_column_for_each_combination(complete: "Written", printed: Printed) -> None:
    text = printed(
        complete.folder.path, "--columns", "freeze,model", "--show", "minutes", "--format", "csv"
    )
    (line,) = csv.DictReader(io.StringIO(text))
    assert float(line["none · cnn: test_accuracy_mean"]) == pytest.approx(0.6)
    assert float(line["all_but_head · cnn: minutes"]) == 2.0
    assert not any(name.startswith("all_but_head · mlp") for name in line)


def test_what_can_be_asked_for(complete: "Written", printed: Printed) -> None:
    run = complete.folder.run(complete.trial(0, lr=0.01, seed=100))
    with run.recorder(2) as recorder:
        recorder.write({"epoch": 4, "seconds": 36.0, "images_per_second": 250.0})
    shown = "minutes,device_hours,images_per_second,trainable_parameters,parameters,"
    shown += "trainable_share,flops"
    more = "accuracy_per_million_parameters,trials,winner,lr,validation_accuracy"
    text = printed(
        complete.folder.path,
        "--rows",
        "model,freeze",
        "--show",
        f"{shown},{more}",
        "--format",
        "csv",
    )
    first = next(csv.DictReader(io.StringIO(text)))
    numbers = {
        name: float(first[name])
        for name in f"{shown},trials,accuracy_per_million_parameters,lr".split(",")
    }
    assert numbers == {
        "minutes": pytest.approx(2.0),
        "device_hours": pytest.approx((5 * 24 + 36) / 3600),
        "images_per_second": 250.0,
        "trainable_parameters": 2570,
        "parameters": 1985770,
        "trainable_share": pytest.approx(2570 / 1985770),
        "flops": 1000,
        "accuracy_per_million_parameters": pytest.approx(60 / 1.98577),
        "trials": 5,
        "lr": 0.01,
    }
    assert first["winner"] == complete.trial(0, lr=0.01)
    people = printed(complete.folder.path, "--rows", "model", "--show", f"{shown},{more}")
    assert "0.129" in people  # per cent of the parameters are trained
    assert "1,985,770" in people


def test_what_rows_cost_is_shown_as_far_as_it_is_known(
    complete: "Written", printed: Printed
) -> None:
    path, grouped = complete.folder.path, ("--rows", "model,freeze", "--format", "csv")
    for seed, energy in ((100, 0.25), (101, 0.75)):
        run = complete.folder.run(complete.trial(0, lr=0.01, seed=seed))
        result = run.result()
        assert result
        run.write_result({**result, "energy_kwh": energy, "energy_shared": False})
        with run.recorder(2) as recorder:
            for epoch, speed, waited in ((4, 100.0, 0.5), (5, 300.0, 0.1), (6, 300.0, 0.1)):
                entries = {"images_per_second": speed, "data_wait": waited}
                recorder.write({"epoch": epoch, "seconds": 36.0, **entries})
    first = next(csv.DictReader(io.StringIO(printed(path, *grouped, "--cost"))))
    numbers = {name: float(first[name]) for name in ("images_per_second", "data_wait")}
    # Of five thirds of an epoch's time at 100 images/s, a half of the first epoch was waited.
    assert numbers == {"images_per_second": 300.0, "data_wait": pytest.approx(0.34)}
    assert float(first["energy_kwh"]) == pytest.approx(0.5)
    assert "utilization" not in first  # on CPUs
    assert "images_per_second" not in printed(path, *grouped)
    own = next(csv.DictReader(io.StringIO(printed(path, "--format", "csv"))))
    assert own["images_per_second"] == first["images_per_second"]
    people = printed(path, "--cost")
    heads = ("device-hours", "images/s", "data wait %", "kWh")
    assert all(f" {head} " in people for head in heads)
    assert "kWh │" not in printed(path)


def test_all_winners_fields_are_known_without_asking(complete: "Written", printed: Printed) -> None:
    head = (
        printed(complete.folder.path, "--rows", "model,freeze", "--format", "csv")
        .splitlines()[0]
        .split(",")
    )
    assert {"lr", "validation_accuracy", "minutes", "parameters", "trainable_parameters"} <= set(
        head
    )


def test_two_sweeps_in_one_table(complete: "Written", tmp_path: Path, printed: Printed) -> None:
    other = tmp_path / "runs" / "again"
    shutil.copytree(complete.folder.path, other)
    text = printed(complete.folder.path, other, "--rows", "sweep,model", "--format", "csv")
    assert [line["sweep"] for line in csv.DictReader(io.StringIO(text))] == [
        "sweep",
        "sweep",
        "again",
        "again",
    ]
    together = printed(complete.folder.path, other, "--rows", "model")
    assert "15 duplicates: the same trial in several rows or sweeps, counted once." in together
    plain = printed(complete.folder.path, other)  # by what both compare
    assert "all_but_head" in plain


def test_the_long_tables_are_always_there(rich_table: "Written", printed: Printed) -> None:
    folder = rich_table.folder
    rich_table.waiting(0, lr=0.7)
    rich_table.folder.list_trial("0badcafe", 0, "search")
    for arguments in ((), ("--rows", "model")):
        folder.long_table_path.unlink(missing_ok=True)
        folder.records_path.unlink(missing_ok=True)
        printed(folder.path, *arguments)
        trials = pd.read_csv(folder.long_table_path, keep_default_na=False, dtype={"seed": str})
        assert len(trials) == 19
        first = trials.iloc[0]
        assert (first["model"], first["augmentation"], first["patience"], first["batch_norm"]) == (
            "cnn", "none", "", "true",
        )  # fmt: skip
        assert first["filters"] == "32"
        assert trials.iloc[-1][["trial", "outcome", "model", "augmentation"]].tolist() == [
            "0badcafe",
            "waiting",
            "",
            "",
        ]
        assert set(pd.read_parquet(folder.records_path)["trial"]) <= set(trials["trial"])
        assert len(pd.read_parquet(folder.records_path)) == 16 * 4 + 3


def test_another_persons_folder_is_read(
    complete: "Written", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("fieldtrial.results.table.files.write_atomically", refuse)
    monkeypatch.setattr("fieldtrial.results.read.records.atomic_file", refuse)
    assert main([str(complete.folder.path), "--rows", "model"]) == 0
    output, errors = capsys.readouterr()
    assert "60.00 ± 4.97 (n=3)" in output
    assert re.fullmatch(r"not written: .*Permission denied: '.*trials\.csv'\n", errors)


def test_a_single_trial_and_an_empty_sweep(written: "Written", printed: Printed) -> None:
    written.describe(search={})
    assert "not started" in printed(written.folder.path, "--rows", "model")
    assert printed(written.folder.path, "--rows", "lr").count("┃") > 0
    written.ended(0)
    text = printed(written.folder.path, "--rows", "model")
    assert "50.00" in text
    assert "final: 3 not started" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "modle"], r"error: unknown field 'modle'; did you mean 'model'\?"),
        (
            ["--rows", "seed"],
            "error: seed: the mean is taken over it, so nothing can be grouped or chosen by it",
        ),
        (
            ["--metric", "test_acuracy"],
            "error: --metric test_acuracy: no final run has it; there are: .*test_accuracy",
        ),
        (
            ["--where", "model=resnet18"],
            "error: --where model=resnet18: no trial is left; there are: cnn, mlp",
        ),
        (["--show", "minuts"], "error: --show minuts: unknown; there are: .*minutes"),
        (
            ["--rows", "model", "--within", "freeze"],
            "error: --within freeze: must be among --rows and --columns",
        ),
        (
            ["nothing"],
            r"error: nothing/sweep\.json: no such file, so nothing is not the folder of a sweep",
        ),
    ],
)
def test_refused_in_one_line(
    complete: "Written", printed: Printed, arguments: list[str], message: str
) -> None:
    errors = printed.error(complete.folder.path, *arguments)
    assert re.match(message, errors), errors
    assert errors.count("\n") == 1


def grid(text: str) -> Grid:
    return Grid(text, text, [text, "n"], 1, [[Cell(text, strong=True), Cell("1")]], [text])


def test_markdown_keeps_strange_texts_in_their_cell() -> None:
    table = [line for line in render_markdown(grid(STRANGE)).splitlines() if line.startswith("|")]
    assert [len(re.split(r"(?<!\\)\|", line)) for line in table] == [4, 4, 4]


def test_html_is_whole_and_shows_strange_texts() -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.texts: list[str] = []
            self.open: list[str] = []

        def handle_starttag(self, tag: str, _attributes: object) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.texts.append(data)

    reader = Reader()
    reader.feed(render_html(grid(STRANGE)))
    assert reader.open == []
    assert reader.texts.count(STRANGE) == 6  # title, heading, caption, head, cell, footer


def test_latex_escapes_what_means_something_to_it() -> None:
    assert escape_latex("a_b & 5 % of {x} # $1 ~ ^ \\ <|> ± é 中") == (
        r"a\_b \& 5 \% of \{x\} \# \$1 \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{}\textbar{}\textgreater{} $\pm$ é ?"
    )
    text = render_latex(grid(STRANGE))
    rules = [text.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert rules == sorted(rules)
    assert text.count("{") == text.count("}")
    assert not re.search(r"\\[hvc]line|\|", text.replace(r"\textbar", ""))
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert [
        len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith(r"\\")
    ] == [1, 1]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(rich_table: "Written", printed: Printed, tmp_path: Path) -> None:
    table = printed(
        rich_table.folder.path, "--rows", "model,freeze", "--format", "latex"
    ) + render_latex(grid(STRANGE))
    preamble = r"\documentclass{article}\usepackage{booktabs}"
    document = rf"{preamble}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "table.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
