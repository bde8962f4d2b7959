"""Outages of a shared file system: how they show in a program that works on it, and waiting until
they are over.

A full disk, a missing file and a refused permission are none: somebody has to do something about
those.
"""

import contextlib
import errno
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# What soft mounts, servers that have started anew, evicted clients and dead FUSE daemons answer.
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
SHORTEST_PAUSE, LONGEST_PAUSE = (
    1.0,
    30.0,
)  # seconds between two attempts: the first, and what it grows to


def is_outage(error: BaseException) -> bool:
    """Return whether an error says that a file system is away."""
    return isinstance(error, OSError) and error.errno in OUTAGES


def outlast(action: Callable[[], T]) -> T:
    """Return what `action` returns, which is tried again and again as long as a file system is
    away.
    """
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
    """Wait, for SHORTEST_PAUSE at least, until `folder`, which was there, can be written to again
    or is full.
    """
    pause = SHORTEST_PAUSE
    while True:
        time.sleep(pause)
        if _can_be_written_to(folder):
            return
        pause = min(LONGEST_PAUSE, 2 * pause)


def _can_be_written_to(folder: Path) -> bool:
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
