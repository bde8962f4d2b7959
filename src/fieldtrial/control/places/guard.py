"""A guard process that ends what a driver has started, also if the driver is killed.

Ray's processes, the processes of a trial and stopped workers can outlive a killed driver, and Ray's
temporary folder does. The kernel's parent-death signal reaches neither a worker's processes, which
are grandchildren, nor the folder. The guard waits on a pipe that closes when the driver ends. Then
it kills every process whose environment carries the driver's mark, and removes the folder.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fieldtrial.processes import python

DRIVER_MARK = "FIELDTRIAL_PLACE"


class Guard:
    """Marks all processes that this process starts from now on, and removes `folder` at the end."""

    def __init__(self, folder: Path) -> None:
        mark = secrets.token_hex(16)
        os.environ[DRIVER_MARK] = mark
        command = python("-m", "fieldtrial.control.places.guard", mark, str(folder))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """Kill the marked processes, remove the folder, and return when that is done."""
        self._process.communicate()
        os.environ.pop(DRIVER_MARK, None)


def main(mark: str, folder: str) -> None:
    """Wait for the end of the input; then kill the marked processes and remove the folder."""
    sys.stdin.read()
    kill_all(DRIVER_MARK, mark)
    shutil.rmtree(folder, ignore_errors=True)


def kill_all(variable: str, value: str) -> None:
    """Kill all other processes with `variable` = `value` in their environment, until none is left.

    They must have been started with it: a process's own changes of its environment do not count.
    """
    while pids := list(_marked(variable, value)):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def signal_all(variable: str, value: str, number: signal.Signals) -> None:
    """Send a signal to all other processes with `variable` = `value` that have a handler for it."""
    for pid in _marked(variable, value):
        if _handles(pid, number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _marked(variable: str, value: str) -> Iterator[int]:
    """Yield the other live processes that were started with the variable in their environment."""
    mark = f"{variable}={value}".encode()
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal() or int(path.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's process, or it has ended
            if (
                mark in (path / "environ").read_bytes().split(b"\0")
                and "\nState:\tZ" not in (path / "status").read_text()
            ):
                yield int(path.name)


def _handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal; without one the signal would end it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (number - 1) & 1)
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
