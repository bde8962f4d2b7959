"""Files as this program writes them: replaced atomically or appended to, readable by the group.

The reader of records is here too, beside their writer.
"""

import contextlib
import errno
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import LINES_BYTES, UnreadableError, decode, open_file, read_bytes
from fieldtrial.disk.schemas import Anything, Record

GROUP_READS, OTHERS_WRITE = 0o050, 0o002
LAST_LINES, LAST_BYTES = 10, 64 << 10  # of a log


def share_with_group() -> None:
    """Make the files of this process and its children group-readable and not world-writable.

    All other permissions follow the user's umask; but what is in the folder of a sweep or a run is
    the user's alone to write.
    """
    own = os.umask(OTHERS_WRITE)
    os.umask(own & ~GROUP_READS | OTHERS_WRITE)


def may_only_read(error: OSError) -> bool:
    """Return whether an error of writing says that this user may not write there."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def refresh(folder: Path | Inside) -> None:
    """Make files visible that other machines have created in `folder`.

    A client of a network file system caches for up to a minute that a name does not exist. Opening
    the folder asks the server.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if isinstance(folder, Inside):
            with folder.entered():
                return
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def is_there(path: Path | Inside) -> bool:
    """Return whether a file exists now, whichever machine created it."""
    _refresh_for(path)
    return path.exists()


def _refresh_for(path: Path | Inside) -> None:
    if isinstance(path, Path):  # the other kind opens the folder anyway
        refresh(path.parent)


@contextlib.contextmanager
def atomic_file(path: Path | Inside, permissions: int = 0o644) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` at the end: readers see the old or the whole new file.

    permissions: from the start on, less what the umask takes away.
    """
    target = path if isinstance(path, Inside) else Inside(path.parent, (path.name,))
    target.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic within one file system.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb", permissions) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path | Inside, content: bytes) -> None:
    """Replace `path` by a file with `content`: readers see the old or the whole new file."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path | Inside, value: object) -> None:
    """Write `value` as JSON, atomically. Raises ValueError for NaN and infinity."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")


def write_arrays(path: Path | Inside, **arrays: Any) -> None:
    """Write numpy arrays of numbers as .npz, atomically. Read it with `allow_pickle=False`."""
    import numpy as np  # late: the control half needs no arrays

    with atomic_file(path) as file:
        np.savez(file, **arrays)


def read_json(path: Path | Inside, schema: Any) -> Any | None:
    """Return a JSON file's value as the type `schema`, or None without a file.

    Raises:
        UnreadableError: as `read_bytes` and `decode` do.
    """
    _refresh_for(path)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return None
    return decode(data, schema, path)


def whole_lines(path: Path | Inside, offset: int = 0) -> bytes:
    """Return a file's content from byte `offset` on, up to the end of its last whole line.

    Raises what `read_bytes` does. The file is opened anew, because a network file system looks
    then.
    """
    data = read_bytes(path, LINES_BYTES, offset)
    return data[: data.rfind(b"\n") + 1]


def tail(path: Path | Inside) -> str:
    """Return the end of a log, which may be large; nothing if it cannot be read."""
    with contextlib.suppress(OSError, UnreadableError), open_file(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        return file.read().decode(errors="replace")
    return ""


def last_lines(text: str) -> str:
    """Return the last lines of a text, indented, each on a new line."""
    return "".join(f"\n    {line}" for line in text.splitlines()[-LAST_LINES:])


class LineWriter:
    """Appends lines to a file. Each is on disk when `write` returns."""

    def __init__(self, path: Path | Inside) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        if end := self._file.seek(0, os.SEEK_END):
            self._file.seek(end - 1)
            if self._file.read() != b"\n":
                self._file.write(b"\n")  # ends a torn line: the process died while it wrote

    def write(self, values: Mapping[str, object]) -> None:
        """Append `values` as JSON. Raises ValueError for NaN or infinity."""
        self._file.write(json.dumps(values, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


class RecordWriter(LineWriter):
    """Appends records to one attempt's file. Each is on disk when `write` returns."""

    def __init__(self, path: Path | Inside, attempt: int) -> None:
        super().__init__(path)
        self._attempt = attempt

    def write(self, values: Mapping[str, object]) -> None:
        """Append a record, with its attempt and the time. Raises ValueError for NaN or infinity."""
        super().write({**values, "attempt": self._attempt, "time": time.time()})


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, or None for a torn one, which the next process wrote again, and
    for one that is no record.
    """
    try:
        decode(line, Record, "")
        record: dict[str, Any] = decode(line, Anything, "")
    except UnreadableError:
        return None
    return record


class Recorded(Protocol):
    """A run, as the reader of its records needs it."""

    def attempts(self) -> list[int]:
        """Return the numbers of the attempts that a worker has begun, in order."""

    def record_lines(self, attempt: int, offset: int = 0) -> bytes:
        """Return the record file of `attempt` from byte `offset` to the last whole line's end."""


class RecordReader:
    """Reads the whole lines that were appended to a run's record files since the last call.

    Each epoch of an attempt is delivered once, even if two processes were started for the same
    attempt.

    newest: the last attempt that a worker had begun at the last `read`; 0 for none.
    """

    def __init__(self, run: Recorded) -> None:
        self._run = run
        self.newest = 0
        self._offsets: dict[int, int] = {}
        self._seen: set[tuple[int, int]] = set()

    def read(self) -> list[dict[str, Any]]:
        """Return the new records of all attempts, in order of attempt, then of writing."""
        attempts = self._run.attempts()
        self.newest = max(attempts, default=0)
        return [record for attempt in attempts for record in self._read_attempt(attempt)]

    def _read_attempt(self, attempt: int) -> list[dict[str, Any]]:
        offset = self._offsets.get(attempt, 0)
        whole = self._run.record_lines(attempt, offset)
        self._offsets[attempt] = offset + len(whole)
        records = [record for line in whole.split(b"\n") if (record := parse_record(line))]
        return [record for record in records if self._is_new(attempt, record["epoch"])]

    def _is_new(self, attempt: int, epoch: int) -> bool:
        new = (attempt, epoch) not in self._seen
        self._seen.add((attempt, epoch))
        return new
