"""Outages of a shared file system: which errors mean one, and how to wait until it is over.

A full disk, a missing file and a refused permission are no outages: waiting does not cure them.
"""

import contextlib
import errno
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Errors of soft mounts, restarted servers, evicted clients and dead FUSE daemons.
OUTAGES = frozenset(
    {
        errno.EIO,
        errno.EREMOTEIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
    }
)
# Seconds between two attempts: the pause doubles from the first to the second.
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


def is_outage(error: BaseException) -> bool:
    """Return whether an error means that a file system does not answer."""
    return isinstance(error, OSError) and error.errno in OUTAGES


def outlast(action: Callable[[], T]) -> T:
    """Return what `action` returns; it is repeated until the file system answers."""
    pause = SHORTEST_PAUSE
    while True:
        try:
            return action()
        except OSError as error:
            if not is_outage(error):
                raise
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


def await_folder(folder: Path) -> None:
    """Wait until an existing folder's file system answers again, for SHORTEST_PAUSE at least."""
    pause = SHORTEST_PAUSE
    while True:
        time.sleep(pause)
        if _answers(folder):
            return
        pause = min(LONGEST_PAUSE, 2 * pause)


def _answers(folder: Path) -> bool:
    probe = folder / f".probe.{secrets.token_hex(4)}.tmp"
    try:
        with contextlib.closing(probe.open("xb")) as file:
            file.write(b"here")
        probe.unlink()
    except FileNotFoundError:
        return False  # the file system is not mounted yet
    except OSError as error:
        return not is_outage(error)
    return True
