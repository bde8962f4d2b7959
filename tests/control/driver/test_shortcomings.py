"""What a sweep lacks at its end, and its exit status. Its engine has run in virtual time."""

import re
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from fieldtrial.command_line import BAD_INPUT, BAD_RESULT, INTERRUPTED
from fieldtrial.control.driver import drive as driver
from fieldtrial.control.driver.live_panel import LivePanel
from fieldtrial.control.driver.shortcomings import shortcomings
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.control.running.ownership import Ownership
from fieldtrial.disk.sweep_folder import SweepFolder
from tests.control.driver.test_drive import SMALL, Checked, IdlePlace
from tests.control.engine.virtual import VirtualPlace, make_sweep, run_sweep

DIED = "died: its worker died 3 times in a row without completing an epoch"
DIVERGED = "diverged: the training loss is nan at step 3 (epoch 1)"


def ended(path: Path, **problems: list[str | None]) -> Engine:
    """Return the engine of a sweep of one row and three final runs, with these problems of trials.

    problems: for each role, of its first trials in turn; None: the trial ended well.
    """
    engine = run_sweep(make_sweep(trials=2, seeds=3), VirtualPlace(SweepFolder(path)))
    for role, texts in problems.items():
        trials = [trial for trial in engine.trials() if trial.role == role]
        for trial, text in zip(trials, texts, strict=False):
            trial.status, trial.problem = ("failed", text) if text else (trial.status, None)
    return engine


@pytest.mark.parametrize(
    ("problems", "lack"),
    [
        ({}, None),
        ({"final": [DIVERGED, DIVERGED]}, None),  # of one that ended well there is a test result
        ({"final": [None, DIED, DIVERGED]}, "1 of 3 final runs failed; the last one: died: "),
        ({"final": [DIED] * 3}, "no test result, because all 3 final runs failed; the last one: "),
        ({"final": [DIVERGED] * 3}, "no test result, because all 3 final runs failed; "),
        ({"search": [DIED] * 2}, "no winner, because no trial of its search ended well; "),
    ],
)
def test_a_sweep_that_lacks_something_ends_with_1_and_says_what(
    problems: dict[str, list[str | None]],
    lack: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = ended(tmp_path / "sweep", **problems)
    monkeypatch.setattr(driver, "LiveReport", nullcontext)
    monkeypatch.setattr(engine, "run", lambda: None)  # it has run
    status = driver._run(engine, LivePanel(Console(quiet=True)), Ownership(engine.folder))
    printed = capsys.readouterr().out
    assert status == (0 if lack is None else BAD_RESULT)
    assert (lack is None) == (printed == "")
    if lack:
        label = engine.sweep.planned[0].label
        assert printed.startswith(f"row 0 ({label}): {lack}")
        is_mendable = DIED in [text for texts in problems.values() for text in texts]
        assert ("--retry" in printed) == (is_mendable and "final" in problems)


def test_a_final_run_that_cannot_be_read_any_more_is_lacking(tmp_path: Path) -> None:
    engine = ended(tmp_path / "sweep")
    assert shortcomings(engine) == []
    final = (engine.rows[0].finals or [])[1]
    path = engine.folder.run(final.name).path / "result.json"
    path.write_text("{")
    (line,) = shortcomings(engine)
    assert f": 1 of 3 final runs cannot be read; the last one: {path}: not a JSON file" in line
    path.unlink()
    (line,) = shortcomings(engine)
    assert "has no result" in line


def test_a_table_that_was_not_made_is_a_bad_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended the table's process: a status, or a signal, which is a negative number."""

    class Done:
        returncode = 0

    done = Done()
    monkeypatch.setattr(driver, "open_place", lambda *_: IdlePlace())
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    monkeypatch.setattr(driver, "_run", lambda *_: 0)
    monkeypatch.setattr(driver, "LastReport", lambda _: nullcontext())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    for done.returncode, status in ((0, 0), (BAD_INPUT, BAD_RESULT), (-9, BAD_RESULT)):
        assert driver.drive(SMALL, SweepFolder(tmp_path / "x"), LocalSettings(), False) == status


def test_the_page_has_every_status() -> None:
    page = (Path(__file__).parents[3] / "docs" / "failures.md").read_text()
    table = page.partition("## Exit status")[2].partition("\n## ")[0]
    statuses = {int(text) for text in re.findall(r"^\| (\d+) \|", table, re.M)}
    assert statuses == {0, BAD_RESULT, BAD_INPUT, INTERRUPTED}
