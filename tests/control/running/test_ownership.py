"""One driver at a time, and takeovers: real processes, also on a machine of another name."""

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from fieldtrial.control.running import ownership
from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.ownership import only_driver
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
    """Return a function that starts an owner of the sweep in `tmp_path`."""
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
        patch.setattr(signal, "pidfd_send_signal", refuse)
        with pytest.raises(WorkError) as caught, only_driver(folder, takeover=True):
            pass
    told = (
        f"carla on {socket.gethostname()}, process {os.getpid()}, runs this sweep; only carla can"
        " end it"
    )
    assert str(caught.value) == f"{tmp_path}: {told}"
    assert (folder.owner() or {})["user"] == "carla"


def refuse(_process: int, _signal: int) -> None:
    """Stand in for a signal to a process of another user; root may send those."""
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


@pytest.fixture
def held(tmp_path: Path) -> Iterator[SweepFolder]:
    """A stranger's folder: somebody else holds its lock."""
    folder = SweepFolder(tmp_path / "theirs")
    folder.path.mkdir()
    with FileLock(folder.lock_path):
        yield folder


def name_driver(folder: SweepFolder, process: int) -> None:
    here = {"host": socket.gethostname(), "process": process, "started": started(process)}
    folder.set_owner({"user": "me", "token": "x", **here})


def refusal(folder: SweepFolder) -> str:
    with pytest.raises(WorkError) as caught, only_driver(folder, takeover=True):
        pass
    return str(caught.value)


def test_a_process_that_is_no_driver_is_not_ended(held: SweepFolder) -> None:
    with subprocess.Popen(["sleep", "600"]) as victim:
        name_driver(held, victim.pid)
        told = f"process {victim.pid}, is no driver of this sweep"
        assert told in refusal(held)
        assert victim.poll() is None
        victim.kill()
    assert (held.owner() or {})["process"] == victim.pid, "nothing was changed"


def test_a_process_that_lets_nobody_look_is_no_driver(held: SweepFolder) -> None:
    hide = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hide], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as victim:
        assert victim.stdout
        victim.stdout.readline()
        name_driver(held, victim.pid)
        assert f"process {victim.pid}, is no driver of this sweep" in refusal(held)
        assert victim.poll() is None
        victim.kill()


def test_another_sweeps_driver_is_not_ended(
    start: Start, tmp_path: Path, held: SweepFolder
) -> None:
    first = start()
    assert line(first) == "owns"
    held.set_owner(SweepFolder(tmp_path).owner())
    assert "is no driver of this sweep" in refusal(held)
    held.lock_path.unlink()
    os.link(SweepFolder(tmp_path).lock_path, held.lock_path)  # the same lock, as it seems
    assert "is no driver of this sweep" in refusal(held)
    assert first.poll() is None
    assert owner(tmp_path) == first.pid


def test_a_number_that_another_process_has_by_now_is_not_ended(held: SweepFolder) -> None:
    with subprocess.Popen(["sleep", "600"]) as victim, pytest.MonkeyPatch.context() as patch:
        name_driver(held, victim.pid)
        held.set_owner((held.owner() or {}) | {"started": 1})
        patch.setattr(ownership, "LEAVING_SECONDS", 0.1)
        assert "does not end" in refusal(held)
        assert victim.poll() is None
        victim.kill()


def test_only_the_user_can_open_the_lock(start: Start, tmp_path: Path) -> None:
    lock = Path(SweepFolder(tmp_path).lock_path)
    lock.touch(mode=0o666)
    lock.chmod(0o666)  # as others could have it
    assert line(start()) == "owns"
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


@pytest.fixture
def reachable() -> Iterator[SweepFolder]:
    """A sweep's folder that every user of this machine can enter."""
    need_root("acts as another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield SweepFolder(folder)


def test_another_user_cannot_keep_the_owner_out(reachable: SweepFolder) -> None:
    lock = reachable.lock_path.path
    stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    ask = [*stranger, "flock", "--nonblock", str(lock), "true"]
    with only_driver(reachable):
        kept_out = subprocess.run(ask, capture_output=True, text=True, check=False)
        assert "Permission denied" in kept_out.stderr
        lock.chmod(0o644)
        asked = subprocess.run(ask, capture_output=True, text=True, check=False)
        assert (asked.returncode, asked.stderr) == (1, ""), "who may read it may ask for the lock"


def test_the_lock_of_another_user_is_said_to_be_that(reachable: SweepFolder) -> None:
    with only_driver(reachable):
        pass
    os.seteuid(65534)
    try:
        with pytest.raises(WorkError) as caught, only_driver(reachable):
            pass
    finally:
        os.seteuid(0)
    lock = reachable.lock_path
    told = f"belongs to root, who alone can open {lock} and run it"
    assert str(caught.value) == f"{reachable.path}: {told}"
