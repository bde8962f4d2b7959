"""Reading what somebody else may have written: regular files only, at most so long, of one form."""

import functools
import hashlib
import os
import stat
from pathlib import Path
from typing import IO, Any

import msgspec

from fieldtrial.disk.inside import Inside

JSON_BYTES = 16 << 20  # the most that is read of a JSON file
LINES_BYTES = 64 << 20  # and of a file with a line for each record, task or trial


class UnreadableError(ValueError):
    """A file is not what this program writes; the message has its path and what it must be."""


def open_file(path: Path | Inside) -> IO[bytes]:
    """Open a file to be read. Nothing is waited for, as the other end of a pipe would be.

    Raises:
        OSError: it is not there, or not to be read by this user.
        RefusedError: it is inside of a folder, and a link, or behind one, or no regular file.
        UnreadableError: what a plain path leads to is a folder, a pipe or a device.
    """
    if isinstance(path, Inside):
        return path.open("rb")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(file), path)
    except UnreadableError:
        os.close(file)
        raise
    return os.fdopen(file, "rb")


def require_file(path: Path | Inside, most: int = LINES_BYTES) -> None:
    """Raise what `read_bytes` would raise, without reading."""
    about = path.stat()
    _require_regular(about, path)
    _require_length(about.st_size, most, path)


def read_bytes(path: Path | Inside, most: int = JSON_BYTES, offset: int = 0) -> bytes:
    """Return a file's content from byte `offset` on.

    Raises:
        OSError, UnreadableError: as `open_file`; or there are more than `most` bytes.
    """
    with open_file(path) as file:
        length = os.fstat(file.fileno()).st_size - offset
        _require_length(length, most, path)
        file.seek(offset)
        return file.read(max(0, length))  # `most` would be allocated; it may have grown meanwhile


def sha256(path: Path | Inside) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits. Raises as `open_file`."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def decode(data: bytes, schema: Any, where: Path | Inside | str) -> Any:
    """Return JSON as a value of the type `schema`; what it does not name is left out.

    Raises:
        UnreadableError: other JSON, or none; `where` is the path in the message.
    """
    try:
        return _decoder(schema).decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's own errors are ValueErrors
        raise UnreadableError(f"{where}: not a JSON file of this program: {error}") from None


def check(value: object, schema: Any, where: Path | Inside | str) -> Any:
    """Return plain data as a value of the type `schema`. Raises UnreadableError as `decode`."""
    try:
        return msgspec.convert(value, schema)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{where}: not a JSON file of this program: {error}") from None


def _require_regular(about: os.stat_result, path: Path | Inside) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise UnreadableError(f"{path}: must be a regular file, not a folder, pipe or device")


def _require_length(size: int, most: int, path: Path | Inside) -> None:
    if size > most:
        raise UnreadableError(f"{path}: {size:,} bytes to read; must be at most {most:,}")


@functools.cache
def _decoder(schema: Any) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(schema)
