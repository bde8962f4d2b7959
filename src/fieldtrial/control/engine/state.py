"""The engine's state in one signed file, which is replaced atomically.

Ray Tune's searchers and schedulers can only be saved as a pickle, and loading a pickle can run
code. The signature's key stays in the user's home. So a sweep folder from somebody else cannot run
code here. What is signed names the sweep and its folder: the state of one sweep is not taken for
another's.
"""

import contextlib
import hashlib
import hmac
import json
import os
import pickle
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.outages import is_outage
from fieldtrial.disk.reading import UnreadableError, read_bytes
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.processes import home_folder

# Raise it with every change of a class that is pickled, but for a new attribute with a default of
# its class that cannot be changed: a state without it is read as one with the default.
VERSION = 5
HEADER = re.compile(rb"fieldtrial engine state (\d+)\n")
ADVICE = "Or remove the file to continue from the finished trials, which are not repeated."
DIGEST_BYTES = hashlib.sha256().digest_size
KEY_BYTES = 32
MOST_BYTES = 2 << 30  # of a state; that of 30,000 trials has some 100 MB
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ForeignStateError(ValueError):
    """The state was not written with this user's key, for this sweep, by this version of this
    program; or the key may be known to others.
    """


def save_state(folder: SweepFolder, sweep: SweepDescription, state: object) -> None:
    """Write the state of `sweep` into its folder, signed.

    Raises:
        OSError: it cannot be written; the old file is then kept.
        ForeignStateError: the key may be known to others.
    """
    header = b"fieldtrial engine state %d\n" % VERSION + _bound_to(folder, sweep)
    content = header + pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    write_atomically(folder.state_path, hmac.digest(_key(), content, "sha256") + content)


def load_state(folder: SweepFolder, sweep: SweepDescription) -> Any | None:
    """Return the state of `sweep` from its folder, or None if there is no file.

    Raises:
        ForeignStateError: another user wrote it, it was changed, its version is another, or it is
            of another sweep or folder; or the key may be known to others.
    """
    found = load_state_of_any(folder, [sweep])
    return None if found is None else found[0]


def load_state_of_any(
    folder: SweepFolder, sweeps: Sequence[SweepDescription]
) -> tuple[Any, SweepDescription] | None:
    """Return the state from a folder, and which of `sweeps` it is of: they are what the folder's
    sweep was, and is to be. None if there is no file. Raises what `load_state` does.
    """
    path = folder.state_path
    try:
        data = read_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        raise ForeignStateError(f"{error}. {ADVICE}") from None
    signature, content = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if not hmac.compare_digest(signature, hmac.digest(_key(), content, "sha256")):
        raise ForeignStateError(
            f"{path}: not written by you: its signature does not match the key in {_key_path()},"
            " and reading it could run somebody else's code. Let its owner continue the sweep."
            f" {ADVICE}"
        )
    found = HEADER.match(content)
    version = int(found[1]) if found else 0
    bound = content[found.end() :] if found else b""
    known = {_bound_to(folder, sweep): sweep for sweep in sweeps}
    own = next(filter(bound.startswith, known), None)
    if version != VERSION:
        own = None
    elif own is None:
        there = json.loads(bound.partition(b"\n")[0])
        raise ForeignStateError(
            f"{path}: written for sweep {there['sweep']} in {there['folder']}, or before the sweep"
            f" was changed: it is not the state of this one. If you have moved the folder, move it"
            f" back. {ADVICE}"
        )
    try:
        if own is None:
            raise ValueError(f"its format is {version}, and that of this version is {VERSION}")
        return pickle.loads(bound[len(own) :]), known[own]
    except Exception as error:  # of any kind: the signature proves that the content is complete
        age = "a newer" if version > VERSION else "an older"
        raise ForeignStateError(
            f"{path}: written by {age} version of Fieldtrial ({error}); use that version to"
            f" continue the sweep with it. {ADVICE}"
        ) from None


def _bound_to(folder: SweepFolder, sweep: SweepDescription) -> bytes:
    """Return a line that names the sweep and its folder."""
    names = {"sweep": folder.name, "folder": str(folder.path.resolve()), "digest": sweep.digest}
    return json.dumps(names).encode() + b"\n"


def _key_path() -> Path:
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


def _key() -> bytes:
    """Return this user's key, created at the first use and readable by the user alone.

    Raises:
        ForeignStateError: it is not: who knows it can sign states that run code; or it is no key,
            or it cannot be created or read.
        OSError: in an outage.
    """
    try:
        path = _key_path()
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
