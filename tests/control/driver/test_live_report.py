"""The report that is written while a sweep runs."""

import errno
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.driver.live_report import LastReport, LiveReport
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "x")
    folder.write_description(
        SweepDescription(
            name="x",
            base=TrainConfig(),
            rows=({"model": "mlp"},),
            search={},
            trials=1,
            seeds=1,
            select="validation_accuracy",
        )
    )
    return folder


@pytest.mark.slow
def test_it_is_written_while_the_sweep_runs(folder: SweepFolder, processes: Any) -> None:
    with LiveReport(folder, first=0, least=0.1):
        assert processes.eventually(folder.report_path.exists, seconds=120)
    left = {path.name for path in folder.path.iterdir()}
    assert left <= {"report.html", "sweep.json", "records.parquet"}


def test_where_no_process_can_be_started_there_is_none(
    folder: SweepFolder,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    processes: Any,
) -> None:
    refusals = []

    def refuse(*_: object, **_options: object) -> None:
        refusals.append("again")
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with LiveReport(folder, first=0, least=0.01):
        assert processes.eventually(lambda: len(refusals) > 1), "it tries again"
    with LastReport(folder) as report:
        report.show()
    assert capfd.readouterr().err == "no report: Resource temporarily unavailable\n"


def test_the_end_of_a_sweep_does_not_wait_for_it(folder: SweepFolder) -> None:
    with LiveReport(folder, first=1000):
        pass
    assert not folder.report_path.exists()
    with LiveReport(folder, first=0):
        time.sleep(0.1)  # it has begun
    left = [path.name for path in folder.path.iterdir()]
    time.sleep(0.5)
    assert [path.name for path in folder.path.iterdir()] == left  # and has ended, or never did


def test_the_last_report_says_where_it_is(
    folder: SweepFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with LastReport(folder) as report:
        report.show()
    assert capfd.readouterr().out == f"{folder.report_path}\n"
    assert folder.report_path.exists()


def test_a_report_that_cannot_be_written_is_an_error_of_its_own(
    folder: SweepFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder.path / "sweep.json").unlink()
    with LastReport(folder) as report:
        report.show()
    assert "sweep.json: no such file" in capfd.readouterr().err


def test_the_last_report_ends_with_an_interrupted_driver(folder: SweepFolder) -> None:
    report = LastReport(folder)
    with pytest.raises(KeyboardInterrupt), report:
        raise KeyboardInterrupt
    assert report._process
    assert report._process.returncode == -signal.SIGKILL
    assert not folder.report_path.exists()
