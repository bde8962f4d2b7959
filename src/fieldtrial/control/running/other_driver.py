"""Another driver of a folder on this machine: how it is known for one, and asked to end.

What a folder says of its driver may be a stranger's words, and name any process.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.processes import started


class NoDriverError(RuntimeError):
    """A process is no driver of the folder."""


def mark_this_process(folder: WorkFolder) -> int:
    """Mark this process as a driver of a folder; return a descriptor: to close it ends that.

    The mark is an open file without a name in any folder, of which the kernel shows the title. An
    environment variable would not do: the kernel shows those that a process was started with.
    """
    return os.memfd_create(_mark(folder))


def ask_to_end(owner: Mapping[str, Any], folder: WorkFolder, announce: Callable[[], None]) -> None:
    """Send SIGTERM to the driver of a folder that `owner` names, after `announce` was called.

    The process is held by a descriptor of it: another one that gets its number is not meant.

    Raises:
        NoDriverError: the process lacks the mark of a driver of this folder, or its lock.
        PermissionError: it is another user's.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(ProcessLookupError))  # it has ended meanwhile
        process = os.pidfd_open(owner["process"])
        stack.callback(os.close, process)
        signal.pidfd_send_signal(process, 0)  # raises PermissionError
        if started(owner["process"]) != owner["started"]:
            return
        if not _is_driver(owner["process"], folder):
            raise NoDriverError
        announce()
        signal.pidfd_send_signal(process, signal.SIGTERM)


def _mark(folder: WorkFolder) -> str:
    known = folder.path.stat()
    return f"fieldtrial-driver-{known.st_dev}-{known.st_ino}"


def _is_driver(process: int, folder: WorkFolder) -> bool:
    """Return whether a process has the mark of a driver of this folder, and its lock open."""
    titles, files = set[str](), set[tuple[int, int]]()
    with contextlib.suppress(OSError):  # it has ended, or lets nobody look, as no driver does
        for path in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                titles.add(str(path.readlink()))
                files.add((path.stat().st_dev, path.stat().st_ino))
    lock = folder.lock_path.stat()
    is_marked = f"/memfd:{_mark(folder)} (deleted)" in titles
    return is_marked and (lock.st_dev, lock.st_ino) in files
