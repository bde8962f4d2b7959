"""The engine's state in one signed file: what it was at some time, and what has changed since.

The first part is replaced atomically. Changes are appended, so that a save costs what has changed.
When they have outgrown the first part, all of it is written anew.

Ray Tune's searchers and schedulers can only be saved as a pickle, and loading a pickle can run
code. The signature's key stays in the user's home. So a sweep folder from somebody else cannot run
code here. What is signed names the sweep and its folder: the state of one sweep is not taken for
another's. Each change is signed together with what is before it: none can be left out, moved or
taken from another file. Only the end may be cut, as a driver that was killed leaves it, or be of
zeros, as a machine that fails leaves it.
"""

import errno
import hashlib
import hmac
import json
import os
import pickle
import re
from collections.abc import Callable, Sequence
from typing import IO, Any

from fieldtrial.control.engine.journal.key import ForeignStateError, key_path, user_key
from fieldtrial.disk.files import atomic_file
from fieldtrial.disk.reading import UnreadableError, read_bytes
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.sweep_folder import SweepFolder

# Raise it with every change of a class that is pickled, but for a new attribute with a default of
# its class that cannot be changed: a state without it is read as one with the default.
VERSION = 6
HEADER = re.compile(rb"fieldtrial engine state (\d+)\n")
FIRST_PART = re.compile(rb"fieldtrial engine state %d\n[^\n]*\n(.{8})" % VERSION, re.DOTALL)
ADVICE = "Or remove the file to continue from the finished trials, which are not repeated."
DIGEST_BYTES = hashlib.sha256().digest_size
LENGTH_BYTES = 8
LENGTH, CHANGE = b"length", b"change"  # what a signature is of
HEAD_BYTES = LENGTH_BYTES + DIGEST_BYTES  # of a change: how long it is, signed
LONGEST_NAMES = 1 << 16  # of the line that names sweep and folder
LEAST_JOURNAL = 1 << 20  # bytes of changes, before all is written anew
MOST_BYTES = 2 << 30  # of a state; that of 30,000 trials has some 100 MB


class StateFile:
    """Saves a sweep's state: all of it first, and then what has changed.

    folder, sweep: where, and the state of what.
    """

    def __init__(self, folder: SweepFolder, sweep: SweepDescription) -> None:
        self._folder, self._sweep = folder, sweep
        self._file: IO[bytes] | None = None
        self._signature = b""
        self._most = self._appended = 0

    def save(self, state: Callable[[], object], change: object) -> None:
        """Save the `change` since the last save; or, now and then, the whole state.

        state: returns it.

        Raises:
            OSError: it cannot be written. What was saved before is kept, and the next time the
                whole state is written.
            ForeignStateError: the key may be known to others.
        """
        if self._file is None or self._appended > self._most:
            self._write(pickle.dumps(state(), pickle.HIGHEST_PROTOCOL))
        else:
            self._append(self._file, pickle.dumps(change, pickle.HIGHEST_PROTOCOL))

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _write(self, content: bytes) -> None:
        self.close()
        head = b"fieldtrial engine state %d\n" % VERSION + _bound_to(self._folder, self._sweep)
        head += len(content).to_bytes(LENGTH_BYTES)
        signed = hmac.new(user_key(), head, "sha256")
        signed.update(content)
        self._signature = signed.digest()
        with atomic_file(self._folder.state_path) as file:
            file.write(self._signature + head)
            file.write(content)
            # Changes go into this very file: another driver may put its own in its place.
            kept = os.dup(file.fileno())
        self._file = os.fdopen(kept, "wb", buffering=0)
        self._appended, self._most = 0, max(LEAST_JOURNAL, len(content))

    def _append(self, file: IO[bytes], content: bytes) -> None:
        key, length = user_key(), len(content).to_bytes(LENGTH_BYTES)
        head = length + _signed(key, self._signature, LENGTH, length)
        signature = _signed(key, self._signature, CHANGE, content)
        change = head + content + signature
        try:
            written = file.write(change)
            os.fsync(file.fileno())
            if written != len(change):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder.state_path))
        except BaseException:
            self.close()  # nothing may follow half a change
            raise
        self._signature = signature
        self._appended += len(change)


def save_state(folder: SweepFolder, sweep: SweepDescription, state: object) -> None:
    """Write the whole state of `sweep` into its folder. Raises what `StateFile.save` does."""
    file = StateFile(folder, sweep)
    file.save(lambda: state, None)
    file.close()


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
    content, changes = _verified(memoryview(data), path)  # a copy may be large
    found = HEADER.match(content)
    version = int(found[1]) if found else 0
    bound = content[found.end() :] if found else content[:0]
    known = {_bound_to(folder, sweep): sweep for sweep in sweeps}
    own = next((one for one in known if bound[: len(one)] == one), None)
    if version != VERSION:
        own = None
    elif own is None:
        there = json.loads(bytes(bound[:LONGEST_NAMES]).partition(b"\n")[0])
        raise ForeignStateError(
            f"{path}: written for sweep {there['sweep']} in {there['folder']}, or before the sweep"
            f" was changed: it is not the state of this one. If you have moved the folder, move it"
            f" back. {ADVICE}"
        )
    try:
        if own is None:
            raise ValueError(f"its format is {version}, and that of this version is {VERSION}")
        state = pickle.loads(bound[len(own) + LENGTH_BYTES :])
        for change in changes:
            pickle.loads(change).apply_to(state)
    except Exception as error:  # of any kind: the signature proves that the content is complete
        age = "a newer" if version > VERSION else "an older"
        raise ForeignStateError(
            f"{path}: written by {age} version of Fieldtrial ({error}); use that version to"
            f" continue the sweep with it. {ADVICE}"
        ) from None
    return state, known[own]


def _verified(data: memoryview, path: object) -> tuple[memoryview, list[memoryview]]:
    """Return a state's first part and the changes after it, once all signatures are verified."""
    key, signature = user_key(), bytes(data[:DIGEST_BYTES])
    # Other formats sign all that follows.
    found = FIRST_PART.match(data, DIGEST_BYTES)
    end = found.end() + int.from_bytes(found[1]) if found else len(data)
    content = data[DIGEST_BYTES:end]
    is_own = hmac.compare_digest(signature, hmac.digest(key, content, "sha256"))
    changes = []
    while is_own and any(tail := data[end : end + HEAD_BYTES]):
        begin, start = end, end + HEAD_BYTES
        if start > len(data):
            break
        length = tail[:LENGTH_BYTES]
        is_own = hmac.compare_digest(tail[LENGTH_BYTES:], _signed(key, signature, LENGTH, length))
        if not is_own:
            is_own = start > _written(data, begin)
            break
        end = start + int.from_bytes(length) + DIGEST_BYTES
        if end > len(data):
            break
        change, given = data[start : end - DIGEST_BYTES], data[end - DIGEST_BYTES : end]
        signature = _signed(key, signature, CHANGE, change)
        if not hmac.compare_digest(given, signature):
            is_own = end > _written(data, begin)
            break
        changes.append(change)
    if not is_own:
        raise ForeignStateError(
            f"{path}: not written by you: its signature does not match the key in {key_path()},"
            " and reading it could run somebody else's code. Let its owner continue the sweep."
            f" {ADVICE}"
        )
    return content, changes


def _written(data: memoryview, begin: int) -> int:
    """Return where the zeros begin that data ends with, at `begin` or later: what a machine that
    fails has not written of the last change, although the file is as long as it was to be.
    """
    return begin + len(bytes(data[begin:]).rstrip(b"\0"))


def _signed(key: bytes, before: bytes, what: bytes, content: bytes | memoryview) -> bytes:
    """Return the signature of a part of a state that follows a part with the signature `before`."""
    signed = hmac.new(key, before + what, "sha256")
    signed.update(content)
    return signed.digest()


def _bound_to(folder: SweepFolder, sweep: SweepDescription) -> bytes:
    """Return a line that names the sweep and its folder."""
    names = {"sweep": folder.name, "folder": str(folder.path.resolve()), "digest": sweep.digest}
    return json.dumps(names).encode() + b"\n"
