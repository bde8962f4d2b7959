"""How a driver ends: what it hears, and what becomes of the jobs. Whole drivers are in test_interruption."""

import errno
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control import driver
from fieldtrial.control.command import main
from fieldtrial.control.driver import INTERRUPTED, Hangup, Interruption, drive
from fieldtrial.control.engine import DISK_ADVICE, Engine
from fieldtrial.control.place import Task
from fieldtrial.control.settings import LocalSettings
from fieldtrial.control.state import ForeignStateError
from fieldtrial.control.sweep import Sweep
from fieldtrial.sweep_folder import SweepFolder

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


SMALL = Sweep(base=TrainConfig(epochs=1), rows=[{"optimizer": "sgd"}], search={}, trials=1, seeds=0)


class IdlePlace:
    """Notes whether it was closed with its jobs running on."""

    slots = processes = 1

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


def test_jobs_run_on_where_the_state_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preflight(_sweep: Sweep) -> AbstractContextManager[Checked]:
        return nullcontext(Checked())

    place, folder = IdlePlace(), SweepFolder(tmp_path / "sweep")
    monkeypatch.setattr(driver, "open_place", lambda *_: place)
    monkeypatch.setattr(driver, "Preflight", preflight)
    folder.path.mkdir()
    folder.state_path.write_bytes(b"of another version")
    folder.describe(SMALL.describe(folder.name))
    with pytest.raises(ForeignStateError):
        drive(SMALL, folder, LocalSettings(), retry=False)
    assert place.detached == [True]


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


def test_what_was_wished_before_an_outage_is_done_after_it_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system goes away before the failed trials run again, and once more when they do."""
    away, checks, retries = OSError(errno.ESTALE, "Stale file handle"), list[int](), list[int]()

    def preflight(_sweep: Sweep) -> AbstractContextManager[Checked]:
        checks.append(len(checks) + 1)
        if checks[-1] == 1:
            raise away
        return nullcontext(Checked())

    def retry(_engine: Engine) -> int:
        retries.append(checks[-1])
        return 0

    def run(_engine: Engine) -> None:
        raise away if checks[-1] == 2 else KeyboardInterrupt

    monkeypatch.setattr(driver, "open_place", lambda *_: IdlePlace())
    monkeypatch.setattr(driver, "Preflight", preflight)
    monkeypatch.setattr(driver, "await_folder", lambda _: None)
    monkeypatch.setattr(Engine, "retry", retry)
    monkeypatch.setattr(Engine, "run", run)
    assert drive(SMALL, SweepFolder(tmp_path / "sweep"), LocalSettings(), retry=True) == INTERRUPTED
    assert (checks, retries) == ([1, 2, 3], [2])


def test_a_lost_terminal_ends_it_unless_it_was_started_with_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Interruption().hear()
    signal.raise_signal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    Interruption().hear()
    with pytest.raises(Hangup):
        signal.raise_signal(signal.SIGHUP)
