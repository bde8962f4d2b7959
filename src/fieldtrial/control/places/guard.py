"""A small process that outlives its owner by a moment, to end what the owner has started, however
the owner went.

Ray's helpers, and a worker in the middle of an epoch, can outlive a driver that is killed. The
guard waits on a pipe that closes with its owner, then ends every process whose environment carries
the owner's mark, and removes the owner's folder.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

MARK = "FIELDTRIAL_PLACE"


class Guard:
    """Marks what this process starts from now on, for its end when `close` is called or this
    process is gone.
    """

    def __init__(self, folder: Path) -> None:
        mark = secrets.token_hex(16)
        os.environ[MARK] = mark
        command = [sys.executable, "-m", "fieldtrial.control.places.guard", mark, str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """End what carries the mark, and return when that is done."""
        self._process.communicate()
        os.environ.pop(MARK, None)


def main(mark: str, folder: str) -> None:
    """Wait until the input ends; then end the marked processes and remove the folder."""
    sys.stdin.read()
    end_all(MARK, mark)
    shutil.rmtree(folder, ignore_errors=True)


def end_all(variable: str, value: str) -> None:
    """Kill all other processes that were started with `variable` = `value` in their environment,
    and see them gone.
    """
    while pids := [pid for pid in _others() if _carries(pid, f"{variable}={value}".encode())]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def signal_all(variable: str, value: str, number: signal.Signals) -> None:
    """Send a signal to all other processes with `variable` = `value` in their environment that it
    would not end.
    """
    for pid in _others():
        if _carries(pid, f"{variable}={value}".encode()) and _handles(pid, number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _others() -> list[int]:
    return [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and int(path.name) != os.getpid()
    ]


def _carries(pid: int, mark: bytes) -> bool:
    """Return whether a live process was started with the mark in its environment."""
    with contextlib.suppress(OSError):  # another user's, or gone
        if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def _handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (number - 1) & 1)
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
