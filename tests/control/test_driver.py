"""How a driver ends: what it hears, and what becomes of the jobs. Whole drivers are in test_interruption."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from fieldtrial.config import TrainConfig
from fieldtrial.control import driver
from fieldtrial.control.driver import Hangup, Interruption, drive
from fieldtrial.control.settings import LocalSettings
from fieldtrial.control.state import ForeignStateError
from fieldtrial.control.sweep import Sweep
from fieldtrial.sweep_folder import SweepFolder

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class IdlePlace:
    """Notes whether it was closed with its jobs running on."""

    slots = processes = 1

    def __init__(self) -> None:
        self.detached: list[bool] = []

    def close(self, detach: bool = False) -> None:
        self.detached.append(detach)


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
    small = Sweep(base=TrainConfig(epochs=1), rows=[{"optimizer": "sgd"}], search={}, trials=1, seeds=0)
    folder.describe(small.describe(folder.name))
    with pytest.raises(ForeignStateError):
        drive(small, folder, LocalSettings(), retry=False)
    assert place.detached == [True]


def test_a_lost_terminal_ends_it_unless_it_was_started_with_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Interruption().hear()
    signal.raise_signal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    Interruption().hear()
    with pytest.raises(Hangup):
        signal.raise_signal(signal.SIGHUP)
