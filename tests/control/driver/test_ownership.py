"""One driver at a time, and how another takes over: real processes, on this machine and on one of
another name.
"""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from fieldtrial.control.driver.drive import only_driver
from fieldtrial.control.engine.loop import SweepError
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.processes import started
from tests.needs import need, need_root

SCRIPT = Path(__file__).parents[1].joinpath("owner.py")
QUICK = {
    "HEARTBEAT_SECONDS": 0.3,
    "WATCH_SECONDS": 3.0,
    "LEAVING_SECONDS": 30.0,
    "DEAD_SECONDS": 30.0,
}

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an owner of the sweep in `tmp_path`, perhaps on another
    machine; all end.
    """
    processes: list[subprocess.Popen[str]] = []

    def start_one(
        takeover: bool = False, host: str | None = None, **seconds: float
    ) -> "subprocess.Popen[str]":
        command = [
            sys.executable,
            str(SCRIPT),
            str(tmp_path),
            "takeover" if takeover else "",
            json.dumps(QUICK | seconds),
        ]
        if host:
            need_root("names a machine")
            renamed = subprocess.run(["unshare", "--uts", "true"], check=False)
            need(renamed.returncode == 0, "the right to name a machine")
            command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, *command]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    lines = iter(process.stdout.readline, "")
    return next((line.rstrip("\n") for line in lines if "waiting for" not in line), "")


def owner(folder: Path) -> int:
    return int((SweepFolder(folder).owner() or {"process": 0})["process"])


@pytest.mark.parametrize("host", [None, "elsewhere"])
def test_a_second_one_is_refused_and_told_who_it_is(
    start: Start, tmp_path: Path, host: str | None
) -> None:
    first = start(host=host)
    assert line(first) == "owns"
    told = f"process {owner(tmp_path)}, runs this sweep; end it first, or give --takeover"
    assert told in line(start())
    first.send_signal(signal.SIGTERM)
    assert line(first) == "left"
    assert owner(tmp_path) == 0


def test_a_takeover_on_this_machine_has_the_other_leave_first(start: Start, tmp_path: Path) -> None:
    first = start()
    assert line(first) == "owns"
    second = start(takeover=True)
    assert line(second) == "owns"
    assert f"process {second.pid}, has taken this sweep over, and this driver has ended" in line(
        first
    )
    assert first.wait(timeout=120) == 0
    assert owner(tmp_path) == second.pid


def test_another_users_is_left_alone_and_told_apart(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    here = {"host": socket.gethostname(), "process": os.getpid(), "started": started(os.getpid())}
    folder.set_owner({"user": "carla", "token": "x", **here})
    with FileLock(folder.lock_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        with pytest.raises(SweepError) as caught, only_driver(folder, takeover=True):
            pass
    told = (
        f"carla on {socket.gethostname()}, process {os.getpid()}, runs this sweep; only carla can"
        " end it"
    )
    assert str(caught.value) == f"{tmp_path}: {told}"
    assert (folder.owner() or {})["user"] == "carla"


def refuse(_process: int, _signal: int) -> None:
    """Stand in for os.kill of a process of another user; root may end those."""
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_one_on_this_machine_that_does_not_leave_keeps_it(start: Start, tmp_path: Path) -> None:
    first = start()
    assert line(first) == "owns"
    first.send_signal(signal.SIGSTOP)
    second = start(takeover=True, LEAVING_SECONDS=1.0)
    assert f"process {first.pid}, does not end; nothing was changed" in line(second)
    assert owner(tmp_path) == first.pid
    first.send_signal(signal.SIGCONT)
    assert line(first) == "left", "it was asked to"


def test_one_on_another_machine_leaves_when_it_reads_that_it_is_deposed(
    start: Start, tmp_path: Path
) -> None:
    first = start(host="elsewhere")
    assert line(first) == "owns"
    second = start(takeover=True)
    assert line(second) == "owns"
    assert f"process {second.pid}, has taken this sweep over" in line(first)
    assert owner(tmp_path) == second.pid


def test_one_on_another_machine_that_was_silent_for_long_finds_itself_deposed(
    start: Start, tmp_path: Path
) -> None:
    first = start(host="elsewhere")
    assert line(first) == "owns"
    first.send_signal(signal.SIGSTOP)
    second = start(takeover=True, DEAD_SECONDS=2.0)
    assert line(second) == "owns"
    third = start()
    assert f"process {second.pid}, runs this sweep" in line(third), "there is a lock again"
    first.send_signal(signal.SIGCONT)
    assert f"process {second.pid}, has taken this sweep over" in line(first)
    assert owner(tmp_path) == second.pid


def test_a_killed_one_leaves_the_way_free(start: Start, tmp_path: Path) -> None:
    for host in ("elsewhere", None):
        first = start(host=host)
        assert line(first) == "owns"
        assert owner(tmp_path)
        first.kill()
        first.wait()
        second = start()
        assert line(second) == "owns"
        second.send_signal(signal.SIGTERM)
        assert line(second) == "left"


def test_where_another_machines_lock_is_not_seen_its_signs_of_life_are(
    start: Start, tmp_path: Path
) -> None:
    first = start(host="elsewhere")
    assert line(first) == "owns"
    SweepFolder(tmp_path).lock_path.unlink()  # so that the next one gets a lock of its own
    assert "runs this sweep" in line(start())
    SweepFolder(tmp_path).lock_path.unlink(missing_ok=True)
    began = time.monotonic()
    second = start(takeover=True)
    assert "has taken this sweep over" in line(first)
    assert line(second) == "owns"
    assert time.monotonic() - began >= QUICK["WATCH_SECONDS"], (
        "it has waited for the other to read that"
    )
