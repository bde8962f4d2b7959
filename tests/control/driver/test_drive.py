"""How a driver ends: signals, outages, and its jobs. Whole drivers are in test_interruption."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control.cli import main
from fieldtrial.control.driver import drive as driver
from fieldtrial.control.driver.drive import drive
from fieldtrial.control.engine.journal.key import ForeignStateError
from fieldtrial.control.engine.loop import Engine
from fieldtrial.control.places.interface import RayError, UnreachableError
from fieldtrial.control.places.settings import LocalSettings
from fieldtrial.control.running import again
from fieldtrial.control.running.again import own_command
from fieldtrial.control.running.errors import DISK_ADVICE, WorkError
from fieldtrial.control.running.interruption import Hangup, Interruption
from fieldtrial.control.running.ownership import DeposedError, Ownership, only_driver
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.disk.task_queue import Task, TaskQueue
from fieldtrial.sweep import Sweep

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


SMALL = Sweep(base=TrainConfig(epochs=1), rows=[{"optimizer": "sgd"}], search={}, trials=1, seeds=0)


class IdlePlace:
    """Notes whether it was closed with its jobs running on."""

    slots = processes = together = 1

    def __init__(self) -> None:
        self.detached: list[bool] = []

    def close(self, detach: bool = False) -> None:
        self.detached.append(detach)

    def adopt(self, tasks: list[Task]) -> list[Task]:
        return tasks


class Checked:
    """Stands in for the check of the rows, which takes seconds."""

    def result(self) -> None:
        pass


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_jobs_run_on_where_the_state_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, folder = list[object](), SweepFolder(tmp_path / "sweep")
    monkeypatch.setattr(driver, "open_place", opened.append)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    folder.path.mkdir()
    Path(folder.state_path).write_bytes(b"of another version")
    folder.write_description(SMALL.describe(folder.name))
    with pytest.raises(ForeignStateError):
        drive(SMALL, folder, LocalSettings(), retry=False)
    assert opened == [], "no place has touched them"


def test_the_command_is_kept_without_what_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["python", "sweeps/x.py", "--takeo", "--trials", "4", "--retry", "--cluster", "s"]
    monkeypatch.setattr(sys, "orig_argv", words)
    assert own_command() == ["python", "sweeps/x.py", "--trials", "4", "--cluster", "s"]


def test_a_disk_that_is_full_before_there_are_trials_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_place(*_: object) -> IdlePlace:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", str(tmp_path / "code"))

    monkeypatch.setattr(driver, "open_place", open_place)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "sweeps" / "small.py")])
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "local.toml").write_text('kind = "local"\n')
    with pytest.raises(SystemExit) as caught:
        main(lambda: SMALL, ["--runs", str(tmp_path / "runs")])
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"{tmp_path / 'code'}: Disk quota exceeded; {DISK_ADVICE}\n"


class ReplacedError(Exception):
    """Stands in for the end of this process, which another command replaces."""


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that replace this process, each of which raises ReplacedError."""
    commands: list[list[str]] = []

    def execv(_program: str, words: list[str]) -> None:
        commands.append(words[1:])
        raise ReplacedError

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(sys, "orig_argv", ["python", "x.py", "--name", "y", "--ret", "--takeover"])
    monkeypatch.setenv(again.QUICK, "0")
    monkeypatch.setattr(again, "await_folder", lambda _: None)
    monkeypatch.setattr(again, "UNREACHABLE_SECONDS", 0.0)
    return commands


def test_after_an_outage_the_command_runs_again_without_the_options_that_were_applied(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restarted: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file system goes away before the failed trials run again, and once more when they do."""
    away, retries, place = OSError(errno.ESTALE, "Stale file handle"), list[bool](), IdlePlace()
    folder = SweepFolder(tmp_path / "sweep")

    def raise_outage(*_: object) -> NoReturn:
        raise away

    def retry(_engine: Engine) -> int:
        retries.append(True)
        return 0

    monkeypatch.setattr(Engine, "retry", retry)
    monkeypatch.setattr(Engine, "run", raise_outage)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    monkeypatch.setattr(driver, "open_place", raise_outage)
    with pytest.raises(ReplacedError):
        drive(SMALL, folder, LocalSettings(), retry=True, takeover=True)
    monkeypatch.setattr(driver, "open_place", lambda *_: place)
    with pytest.raises(ReplacedError):
        drive(SMALL, folder, LocalSettings(), retry=True)
    assert restarted == [["x.py", "--name", "y", "--ret"], ["x.py", "--name", "y"]]
    assert (retries, place.detached) == ([True], [True])
    assert os.environ[again.QUICK] == "2"
    printed = capsys.readouterr().out
    assert printed.count("Stale file handle; waiting for the file system, nothing is lost") == 2
    assert printed.count("the file system answers again") == 2


def test_many_outages_in_a_row_are_a_broken_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: list[list[str]]
) -> None:
    def open_place(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error", "code")

    monkeypatch.setattr(driver, "open_place", open_place)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    folder = SweepFolder(tmp_path / "sweep")
    for _ in range(again.MOST_QUICK - 1):
        with pytest.raises(ReplacedError):
            drive(SMALL, folder, LocalSettings(), retry=False)
    with pytest.raises(WorkError, match=r"^code: Input/output error; fix that"):
        drive(SMALL, folder, LocalSettings(), retry=False)
    assert len(restarted) == again.MOST_QUICK - 1


def test_a_slurm_that_does_not_answer_is_waited_for_after_an_outage_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: list[list[str]]
) -> None:
    def open_place(*_: object) -> NoReturn:
        raise UnreachableError("SLURM does not answer: squeue")

    monkeypatch.setattr(driver, "open_place", open_place)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    with pytest.raises(ReplacedError):
        drive(SMALL, SweepFolder(tmp_path / "sweep"), LocalSettings(), retry=False)
    assert len(restarted) == 1
    monkeypatch.delenv(again.QUICK)
    with pytest.raises(UnreachableError):
        drive(SMALL, SweepFolder(tmp_path / "sweep"), LocalSettings(), retry=False)


def test_a_ray_that_is_lost_is_started_once_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    restarted: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def open_place(*_: object) -> NoReturn:
        raise RayError("Ray did not start in /tmp/x: planted")

    monkeypatch.setattr(driver, "open_place", open_place)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    with pytest.raises(ReplacedError):
        drive(SMALL, SweepFolder(tmp_path / "sweep"), LocalSettings(), retry=False)
    assert capsys.readouterr().out == (
        "Ray did not start in /tmp/x: planted; it is started once more, and trials resume\n"
    )
    with pytest.raises(RayError, match=r"^Ray did not start in /tmp/x: planted\. Ray was started"):
        drive(SMALL, SweepFolder(tmp_path / "sweep"), LocalSettings(), retry=False)
    assert len(restarted) == 1


def test_who_is_told_to_end_by_a_takeover_says_who_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, folder = IdlePlace(), SweepFolder(tmp_path / "sweep")
    taker = {"user": "carla", "host": "login2", "process": 7, "token": "x"}

    def hangup(_engine: Engine) -> None:
        folder.set_owner(taker)
        raise Hangup

    monkeypatch.setattr(driver, "open_place", lambda *_: place)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    monkeypatch.setattr(Engine, "run", hangup)
    with pytest.raises(DeposedError) as caught:
        drive(SMALL, folder, LocalSettings(), retry=False)
    assert str(caught.value).startswith(
        f"{folder.path}: carla on login2, process 7, has taken this sweep over, "
    )
    assert place.detached == [True], "the jobs are the other's"
    assert folder.owner() == taker


def test_who_leaves_a_sweep_that_is_taken_over_can_be_told_to_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, release = SweepFolder(tmp_path / "sweep"), Ownership.release

    def run(engine: Engine) -> None:
        folder.set_owner({"user": "carla", "host": "login2", "process": 7, "token": "x"})
        engine._check_ownership()

    def late(ownership: Ownership) -> None:
        release(ownership)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(driver, "open_place", lambda *_: IdlePlace())
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    monkeypatch.setattr(Engine, "run", run)
    monkeypatch.setattr(Ownership, "release", late)
    with pytest.raises(DeposedError):
        drive(SMALL, folder, LocalSettings(), retry=False)


def test_who_only_looks_who_drives_can_still_be_told_to_end(tmp_path: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with only_driver(SweepFolder(tmp_path)) as ownership:
        assert "since" in (SweepFolder(tmp_path).owner() or {}), (
            "by which others see what its workers have got on with"
        )
        SweepFolder(tmp_path).set_owner(
            {"user": "carla", "host": "login2", "process": 7, "token": "x"}
        )
        with pytest.raises(DeposedError):
            ownership.check()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_who_is_deposed_leaves_at_once_whatever_state_ray_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def drive_on(*_: object) -> int:
        raise DeposedError("carla has taken this sweep over")

    left: list[int] = []
    monkeypatch.setattr(driver, "drive", drive_on)
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "sweeps" / "small.py")])
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "local.toml").write_text('kind = "local"\n')
    main(lambda: SMALL, ["--runs", str(tmp_path / "runs")])
    assert (left, capsys.readouterr().err) == ([1], "carla has taken this sweep over\n")


def test_a_takeover_while_ray_starts_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepFolder(tmp_path / "sweep")

    def open_place(*_: object) -> IdlePlace:
        folder.set_owner({"user": "carla", "host": "login2", "process": 7, "token": "x"})
        sys.exit(signal.SIGTERM)  # as Ray's handler does

    monkeypatch.setattr(driver, "open_place", open_place)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    with pytest.raises(DeposedError):
        drive(SMALL, folder, LocalSettings(), retry=False)


def test_a_sweep_that_is_there_is_told_of_before_anything_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SweepFolder(tmp_path / "sweep")

    def begin() -> str:
        with pytest.raises(WorkError, match="no place"):
            drive(SMALL, folder, LocalSettings(), retry=False)
        return capsys.readouterr().out

    def open_place(*_: object) -> IdlePlace:
        raise WorkError("no place")

    monkeypatch.setattr(driver, "open_place", open_place)
    monkeypatch.setattr(driver, "Preflight", lambda *_: nullcontext(Checked()))
    assert begin() == "", "nothing is there"
    queue = TaskQueue(folder.queue_path)
    queue.open()
    queue.register("7_0", {})
    ended, failed, claimed, left, queued = (folder.run(f"{number}") for number in range(5))
    for run in (ended, failed, claimed, left, queued):
        folder.list_trial(run.name, 0, "search")
        with run.recorder(1) if run is not queued else nullcontext():
            pass
    folder.list_trial("0", 0, "winner")
    ended.write_result({"outcome": "finished"})
    failed.write_error("error", "planted", 1)
    for run in (claimed, queued):
        queue.put(Task(str(run.path), 1))
        assert run is queued or queue.claim("7_0")
    assert begin() == f"{folder.path} is resumed; trials: 2 ended, 1 running, 1 half-done\n"


def test_a_lost_terminal_ends_it_unless_it_was_started_with_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Interruption().listen()
    signal.raise_signal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    Interruption().listen()
    with pytest.raises(Hangup):
        signal.raise_signal(signal.SIGHUP)


def test_a_child_that_has_not_begun_its_program_dies_of_the_signal() -> None:
    Interruption().listen()
    child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: signal.raise_signal(signal.SIGINT))
    assert child.wait(timeout=60) == -signal.SIGINT
