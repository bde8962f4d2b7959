"""Ownership: one driver at a time runs what is in a folder, and another can take it over."""

import contextlib
import itertools
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from fieldtrial.control.running.errors import WorkError
from fieldtrial.control.running.other_driver import NoDriverError, ask_to_end, mark_this_process
from fieldtrial.disk.outages import is_outage
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.panel.terminal import console
from fieldtrial.processes import is_gone, own_name, started, user_name

HEARTBEAT_SECONDS = 5.0
# How long to watch for heartbeats: some file systems do not share locks between machines.
WATCH_SECONDS = 3 * HEARTBEAT_SECONDS
LEAVING_SECONDS = 60.0  # for an owner on this machine to end
# For an owner on another machine to end. After this it is dead, or it finds that it is deposed
# before it does anything else.
DEAD_SECONDS = 120.0
PAUSE_SECONDS = 0.2


class OwnedError(RuntimeError):
    """Another process runs what is in the folder; the message says which, and what to do."""


class DeposedError(RuntimeError):
    """Another driver has taken the folder over."""


class Ownership:
    """The right to run what is in a folder, from `take` to `release`.

    A lock keeps other drivers out, and a file names its owner. Only the user can open the lock's
    file: whoever can read such a file can hold the lock. A driver that takes over writes its
    own name there. The old owner reads the file before it does anything, and ends. It has ended
    when the lock is free, or when another machine's heartbeats have been missing for long.

    takeover: whether to end another owner.
    notify: is called with the owner that is waited for.
    """

    def __init__(
        self,
        folder: WorkFolder,
        takeover: bool = False,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._takeover, self._notify = folder, takeover, notify
        self._lock = self._new_lock()
        self._mark: int | None = None
        self._own: dict[str, object] = {
            "user": own_name(),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": started(os.getpid()),
            "token": secrets.token_hex(8),
        }
        self._made: list[Path] = []  # the folder and those above it that were not there
        self._heartbeats, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, daemon=True)

    def take(self) -> None:
        """Become the owner.

        Raises:
            OwnedError: another process runs it, and does not end, or is another user's.
            OSError: the folder cannot be written to.
        """
        path = self._folder.path.absolute()
        self._made = list(itertools.takewhile(_is_missing, (path, *path.parents)))
        # Without the group's right to write, whatever the umask says: jobs are started from there.
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        owner = self._folder.owner()
        self._keep_lock_private()
        if not self._try_lock() or (
            owner and owner["host"] != self._own["host"] and self._has_heartbeat(owner)
        ):
            if not self._takeover:
                self._lock.release()
                raise OwnedError(
                    f"{owner_text(owner)} runs this {self._folder.kind}; end it first, or give"
                    " --takeover"
                )
            self._notify(f"{self._folder.path}: waiting for {owner_text(owner)} to end")
            self._take_over(owner)
        self._mark = mark_this_process(self._folder)
        self._own["since"] = time.time()  # earlier than the records of its workers
        self._write()
        self._thread.start()

    def release(self) -> None:
        """Give the ownership up."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # an outage: a process that has ended owns nothing
            if self._is_mine():
                self._folder.set_owner(None)
                self._remove_folder()
            self._lock.release()
        if self._mark is not None:
            os.close(self._mark)

    def _remove_folder(self) -> None:
        """Remove the folder if it was made for what has not begun, as after a refusal."""
        lock = self._folder.lock_path
        if self._made and lock.parent.names() == [lock.name]:
            lock.unlink()
            with contextlib.suppress(OSError):  # something else is in one of them by now
                for path in self._made:
                    path.rmdir()

    def check(self) -> None:
        """Raise DeposedError if another driver has taken over, whose SIGTERM may be yet to come."""
        if not self._is_mine():
            path, who = self._folder.path, owner_text(self._folder.owner())
            end = f"and this driver has ended; fieldtrial status {path} shows the state"
            raise DeposedError(f"{path}: {who} has taken this {self._folder.kind} over, {end}")

    def _send_heartbeats(self) -> None:
        """Write heartbeats until the end, or until another driver has taken over."""
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(OSError):  # the engine reports a full disk or an outage
                if not self._is_mine():
                    return
                self._write()

    def _take_over(self, owner: dict[str, Any] | None) -> None:
        """End the owner, and return with the lock."""
        here = owner is not None and owner["host"] == self._own["host"]
        if owner and here and not is_gone(owner):
            try:
                ask_to_end(owner, self._folder, self._write)  # so that it knows why it gets SIGTERM
            except NoDriverError:
                raise OwnedError(
                    f"{owner_text(owner)} is no driver of this {self._folder.kind}, or one of an"
                    f" earlier version, and is left alone; find out who holds"
                    f" {self._folder.lock_path}, and end that"
                ) from None
            except PermissionError:
                raise OwnedError(
                    f"{owner_text(owner)} runs this {self._folder.kind}; only {owner['user']} can"
                    " end it"
                ) from None
        has_left = self._wait(LEAVING_SECONDS if here else DEAD_SECONDS, self._claim_and_lock)
        if has_left and owner and not here:
            # The lock may not be shared between the machines. Give the owner time to read that it
            # is deposed, and once more if it wrote a heartbeat meanwhile.
            if self._wait(WATCH_SECONDS, lambda: not self._is_mine()):
                self._write()
                self._wait(WATCH_SECONDS, lambda: not self._is_mine())
        elif not has_left and (here or owner is None):
            if owner:
                self._folder.set_owner(owner)
            raise OwnedError(
                f"{owner_text(owner)} does not end; nothing was changed. Kill it first"
            )
        elif not has_left:
            # The lock outlived its owner, or the owner is suspended and keeps the old lock file.
            self._folder.lock_path.unlink(missing_ok=True)
            self._lock = self._new_lock()
            self._lock.acquire(timeout=0)

    def _claim_and_lock(self) -> bool:
        if not self._is_mine():
            self._write()  # again: a heartbeat of the owner has overwritten it
        return self._lock.is_locked or self._try_lock()

    def _new_lock(self) -> BaseFileLock:
        return FileLock(str(self._folder.lock_path), mode=stat.S_IRUSR | stat.S_IWUSR)

    def _keep_lock_private(self) -> None:
        """Take the right to open the lock's file from others, which earlier versions gave them."""
        path = self._folder.lock_path
        try:
            with path.open("r+b") as file:
                os.fchmod(file.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        except FileNotFoundError:
            pass  # it is created as it should be
        except PermissionError:
            who = user_name(path.stat().st_uid)
            raise OwnedError(f"belongs to {who}, who alone can open {path} and run it") from None

    def _try_lock(self) -> bool:
        with contextlib.suppress(Timeout):
            self._lock.acquire(timeout=0)
        return self._lock.is_locked

    def _has_heartbeat(self, owner: dict[str, Any]) -> bool:
        """Return whether an owner on another machine writes heartbeats."""
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

    def _write(self) -> None:
        self._heartbeats += 1
        self._folder.set_owner(self._own | {"beat": self._heartbeats})


def _is_missing(path: Path) -> bool:
    return not path.exists()


def owner_text(owner: dict[str, Any] | None) -> str:
    """Return the subject of a message about an owner."""
    return (
        f"{owner['user']} on {owner['host']}, process {owner['process']},"
        if owner
        else "another process"
    )


@contextlib.contextmanager
def only_driver(folder: WorkFolder, takeover: bool = False) -> Iterator[Ownership]:
    """Own a folder; with `takeover`, another driver of it is ended.

    Raises:
        WorkError: another process runs what is in it, or the folder cannot be written to.
        DeposedError: another process has taken it over, and interrupted this one.
    """
    ownership = Ownership(folder, takeover, notify=console().print)
    try:
        ownership.take()
    except OwnedError as error:
        raise WorkError(f"{folder.path}: {error}") from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        yield ownership
    except (KeyboardInterrupt, SystemExit):  # while Ray starts, its handler of SIGTERM exits
        raise_if_deposed(ownership)
        raise
    finally:
        ownership.release()


def raise_if_deposed(ownership: Ownership) -> None:
    """Raise DeposedError if another driver has taken over, as far as that can be known."""
    with contextlib.suppress(OSError):  # in an outage this is unknown
        ownership.check()


def unwritable(folder: WorkFolder, error: OSError) -> Exception:
    """Return the error to raise where a folder cannot be written to."""
    if is_outage(error):
        return error
    return WorkError(f"{folder.path}: cannot be written to: {error.strerror}")
