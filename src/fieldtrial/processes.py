"""Processes of this machine: how Python is started, when one was and by whom, whether a sweep's
driver still runs, and a process's tie to its parent.
"""

import contextlib
import ctypes
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

RESTARTED = "FIELDTRIAL_RESTARTED"  # when a process replaced itself, in seconds since boot
TYPED = "FIELDTRIAL_TYPED"  # what a user typed before the sweep file, if not python
PR_SET_PDEATHSIG = 1  # Linux: the signal to get when the parent dies
PRCTL = ctypes.CDLL(None).prctl  # loaded here: little is safe between fork and exec


def python(*arguments: str) -> list[str]:
    """Return the command that starts this Python again.

    It does not import from the current directory, which may be a stranger's, and have a torch.py.
    """
    return [sys.executable, "-P", *arguments]


def started(process: int) -> int | None:
    """Return a local process's start in clock ticks since boot, or None if it does not exist."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def age() -> float:
    """Return for how many seconds this process has run: since its start, or since `replace_self`.

    It is 0 where the system does not say.
    """
    if (ticks := started(os.getpid())) is None:
        return 0.0
    began = ticks / os.sysconf("SC_CLK_TCK")
    began = max(began, float(os.environ.get(RESTARTED, began)))
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)


def replace_self() -> NoReturn:
    """Start this process's command again in its place."""
    os.environ[RESTARTED] = str(time.clock_gettime(time.CLOCK_BOOTTIME))
    os.execv(sys.executable, sys.orig_argv)


def run_script(words: Sequence[str]) -> NoReturn:
    """Replace this process by Python with these words: a script of the user, and its arguments."""
    os.execv(sys.executable, [sys.executable, *words])


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Return whether an owner has ended. Owners on other machines count as running."""
    if owner["host"] != socket.gethostname():
        return False
    if (there := started(owner["process"])) is not None:
        return bool(there != owner.get("started"))
    try:
        os.kill(owner["process"], 0)
    except PermissionError:  # another user's process, on a system whose /proc hides those
        return False
    except ProcessLookupError:
        pass
    return True


def user_name(number: int) -> str:
    """Return the name of the user with this number, or the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def own_name() -> str:
    """Return the name of the user of this process: a variable's, as programs use, or the system's.

    A container may run as a number without a name.
    """
    names = ("LOGNAME", "USER", "LNAME", "USERNAME")
    return next((os.environ[n] for n in names if os.environ.get(n)), None) or user_name(os.getuid())


def home_folder() -> Path:
    """Return the user's home. Raises ValueError if neither HOME nor the system says where it is."""
    try:
        return Path.home()
    except RuntimeError:
        raise ValueError(
            f"{own_name()} has no home folder: set HOME to a folder that is yours alone"
        ) from None


def data_root() -> Path:
    """Return this machine's folder of downloaded and given data and weights: $FIELDTRIAL_DATA."""
    return Path(
        os.environ.get("FIELDTRIAL_DATA") or home_folder() / ".cache/fieldtrial/data"
    ).absolute()


def die_with_parent() -> None:
    """Make the kernel kill this process when its parent ends, however that comes about."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)
