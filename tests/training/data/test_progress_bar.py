"""Progress: a bar on a terminal, lines elsewhere, and the driver's terminal if it is given."""

import os
import pty
import select
from pathlib import Path

import pytest

from fieldtrial.training.data import progress_bar as progress_module
from fieldtrial.training.data.progress_bar import progress


def test_lines_come_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "SECONDS", 0)
    with progress("x.zip", 1_000_000, 4_000_000) as advance:
        advance(2_000_000)
    with progress("decoding x", 0, 2000, "images") as advance:
        advance(1500)
    with progress("y", 0, None) as advance:
        advance(7_000_000)
    assert (
        capsys.readouterr().err == "x.zip: 3 of 4 MB\ndecoding x: 1,500 of 2,000 images\ny: 7 MB\n"
    )


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("x.zip", 0, 4) as advance:
        advance(4)
    assert capsys.readouterr() == ("", "")


def test_a_given_stream_gets_the_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_module, "SECONDS", 0)
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setenv("FIELDTRIAL_PROGRESS", str(stream.fileno()))
        for _ in range(2):
            with progress("x", 0, 4_000_000) as advance:
                advance(4_000_000)
    assert (tmp_path / "stream").read_text() == "x: 4 of 4 MB\n" * 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("unit", ["bytes", "images"])
def test_a_terminal_gets_a_bar(unit: progress_module.Unit, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("FIELDTRIAL_PROGRESS", str(theirs))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("x.zip", 0, 4, unit) as advance:
        advance(2)
    shown = ""
    while "2/4" not in shown:
        assert select.select([ours], [], [], 0)[0], shown
        shown += os.read(ours, 100_000).decode()
    assert "x.zip" in shown
    os.close(ours)
    os.close(theirs)
