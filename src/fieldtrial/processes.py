"""Processes of this machine: when one was started, and whether a sweep's driver still runs."""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def started(process: int) -> int | None:
    """Return a local process's start in clock ticks since boot, or None if it does not exist."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return None


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
