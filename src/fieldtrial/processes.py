"""Processes of this machine: when one was started, and whether the one that runs a sweep is still
there.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def started(process: int) -> int | None:
    """Return when a process of this machine was started, in clock ticks since boot; None if there
    is none.
    """
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def is_gone(owner: Mapping[str, Any]) -> bool:
    """Return whether an owner was a process of this machine, which is no more; of other machines
    nobody knows.
    """
    if owner["host"] != socket.gethostname():
        return False
    if (there := started(owner["process"])) is not None:
        return bool(there != owner["started"])
    try:
        os.kill(owner["process"], 0)
    except PermissionError:  # another user's, where /proc hides those
        return False
    except ProcessLookupError:
        pass
    return True
