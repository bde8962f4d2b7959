"""The key of a user, with which the state of the user's sweeps is signed."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from fieldtrial.disk.outages import is_outage
from fieldtrial.processes import home_folder

KEY_BYTES = 32
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ForeignStateError(ValueError):
    """The state was not written with this user's key, for this sweep, by this version of this
    program; or the key may be known to others.
    """


def key_path() -> Path:
    """Return where the key is: in the user's home, or as $XDG_STATE_HOME says."""
    home = Path(os.environ.get("XDG_STATE_HOME") or home_folder() / ".local" / "state")
    return home / "fieldtrial" / "key"


def _create_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"key.{os.getpid()}")
    try:
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):  # of two drivers, the first one's key stays
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def user_key() -> bytes:
    """Return this user's key, created at the first use and readable by the user alone.

    Raises:
        ForeignStateError: it is not: who knows it can sign states that run code; or it is no key,
            or it cannot be created or read.
        OSError: in an outage.
    """
    try:
        path = key_path()
    except ValueError as error:  # no home
        raise ForeignStateError(str(error)) from None
    try:
        if not path.exists():
            _create_key(path)
        with path.open("rb") as file:
            key, known = file.read(), os.fstat(file.fileno())
    except OSError as error:
        if is_outage(error):
            raise
        raise ForeignStateError(
            f"{path}: {error.strerror}: the key that signs engine.state is kept there. Make room or"
            " give yourself the rights, or set XDG_STATE_HOME to a folder that is yours alone"
        ) from None
    mode = stat.S_IMODE(known.st_mode)
    problems = [
        (known.st_uid != os.geteuid(), "belongs to another user"),
        (bool(mode & OTHERS), f"can be opened by others (mode {mode:04o})"),
        (len(key) != KEY_BYTES, f"has {len(key)} bytes, and must have {KEY_BYTES}"),
    ]
    if reasons := [text for holds, text in problems if holds]:
        raise ForeignStateError(
            f"{path}: {', and '.join(reasons)}: whoever knows this key can have engine.state run"
            " code as you. Remove it, and the engine.state of each unfinished sweep: they continue"
            " from their finished trials, which are not repeated"
        )
    return key
