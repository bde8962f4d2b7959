"""Ownership: one driver at a time runs a sweep. It says so in the folder, and leaves when another
has taken over.
"""

import contextlib
import getpass
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from filelock import FileLock, Timeout

from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.processes import is_gone, started

BEAT_SECONDS = 5.0  # between two signs of life
WATCH_SECONDS = (
    3 * BEAT_SECONDS
)  # without one, on file systems whose locks another machine does not see
LEAVING_SECONDS = 60.0  # that an owner on this machine may take to end
SILENT_SECONDS = (
    120.0  # after which one on another machine is dead, or finds out before it does anything more
)
PAUSE_SECONDS = 0.2


class OwnedError(RuntimeError):
    """Another process runs the sweep; the message says which, and what to do."""


class DeposedError(RuntimeError):
    """Another driver has taken the sweep over."""


class Ownership:
    """The right to run a sweep, from `take` to `release`.

    A lock keeps others out, and a file says who has it. Whoever takes over puts its own name there:
    the owner looks before it does anything, and leaves. The lock being free, or a long silence of
    another machine, says that it has.

    takeover: whether an owner is to be asked to leave. `say` is called with who is waited for.
    """

    def __init__(
        self,
        folder: SweepFolder,
        takeover: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._takeover, self._say_aloud = folder, takeover, say
        self._lock = FileLock(folder.lock_path)
        self._own: dict[str, object] = {
            "user": getpass.getuser(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": started(os.getpid()),
            "token": secrets.token_hex(8),
        }
        self._beats, self._ended = 0, threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def take(self) -> None:
        """Become the owner.

        Raises:
            OwnedError: another process runs the sweep, and does not leave, or is another user's.
            OSError: the folder cannot be written to.
        """
        self._folder.path.mkdir(parents=True, exist_ok=True)
        owner = self._folder.owner()
        if not self._try_lock() or (
            owner and owner["host"] != self._own["host"] and self._is_beating(owner)
        ):
            if not self._takeover:
                self._lock.release()
                raise OwnedError(
                    f"{describe(owner)} runs this sweep; end that first, or give --takeover"
                )
            self._say_aloud(f"{self._folder.path}: waiting for {describe(owner)} to leave")
            self._take_over(owner)
        self._own["since"] = time.time()  # before any of its workers
        self._say()
        self._beating.start()

    def release(self) -> None:
        """Be the owner no more."""
        self._ended.set()
        self._beating.join()
        with contextlib.suppress(
            OSError
        ):  # the file system is away, and a process that has ended owns nothing
            if self._is_mine():
                self._folder.set_owner(None)
            self._lock.release()

    def check(self) -> None:
        """Raise DeposedError if another driver has taken over. That one's SIGTERM may be yet to
        come.
        """
        if not self._is_mine():
            path, who = self._folder.path, describe(self._folder.owner())
            end = f"and this driver has ended; python jobs/status.py {path} shows how it stands"
            raise DeposedError(f"{path}: {who} has taken this sweep over, {end}")

    def _beat(self) -> None:
        """Give signs of life until the end, or until another driver has taken over."""
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(
                OSError
            ):  # a disk that is full or away is noticed where something has to be kept
                if not self._is_mine():
                    return
                self._say()

    def _take_over(self, owner: dict[str, Any] | None) -> None:
        """Have the owner leave, and return with the lock."""
        here = owner is not None and owner["host"] == self._own["host"]
        if owner and here and not is_gone(owner):
            try:
                os.kill(owner["process"], 0)  # another user's is left as it is
                self._say()  # first, so that it knows why it is told to end
                os.kill(owner["process"], signal.SIGTERM)
            except PermissionError:
                raise OwnedError(
                    f"{describe(owner)} runs this sweep; only {owner['user']} can end it"
                ) from None
        has_left = self._wait(LEAVING_SECONDS if here else SILENT_SECONDS, self._claim_and_lock)
        if has_left and owner and not here:
            # its lock may mean nothing here: it has time to read that it is deposed, once more if
            # it wrote meanwhile
            if self._wait(WATCH_SECONDS, lambda: not self._is_mine()):
                self._say()
                self._wait(WATCH_SECONDS, lambda: not self._is_mine())
        elif not has_left and (here or owner is None):
            if owner:
                self._folder.set_owner(owner)
            raise OwnedError(
                f"{describe(owner)} does not leave this sweep, nothing was touched; kill it first"
            )
        # its lock outlives it, or it is suspended: it keeps the old lock, which nobody asks for now
        elif not has_left:
            self._folder.lock_path.unlink(missing_ok=True)
            self._lock = FileLock(self._folder.lock_path)
            self._lock.acquire(timeout=0)

    def _claim_and_lock(self) -> bool:
        if not self._is_mine():
            self._say()  # once more, if the owner's sign of life has overwritten it
        return self._lock.is_locked or self._try_lock()

    def _try_lock(self) -> bool:
        with contextlib.suppress(Timeout):
            self._lock.acquire(timeout=0)
        return self._lock.is_locked

    def _is_beating(self, owner: dict[str, Any]) -> bool:
        """Return whether an owner on another machine gives signs of life."""
        return self._wait(WATCH_SECONDS, lambda: self._folder.owner() not in (owner, None))

    def _wait(self, seconds: float, holds: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_SECONDS)
        return True

    def _is_mine(self) -> bool:
        return (self._folder.owner() or {}).get("token") == self._own["token"]

    def _say(self) -> None:
        self._beats += 1
        self._folder.set_owner(self._own | {"beat": self._beats})


def describe(owner: dict[str, Any] | None) -> str:
    """Return who an owner is, for people."""
    return (
        f"{owner['user']} on {owner['host']}, process {owner['process']},"
        if owner
        else "another process"
    )
