"""Small files written whole or not at all, JSON, records that are only appended; who may read them,
and from where.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

GROUP_READS, OTHERS_WRITE = 0o050, 0o002


def share_with_group() -> None:
    """Have what this process and its children make readable by its group, and writable by nobody
    outside of that.

    The rest is as the user's umask says.
    """
    own = os.umask(OTHERS_WRITE)
    os.umask(own & ~GROUP_READS | OTHERS_WRITE)


def refresh(folder: Path) -> None:
    """See to it that files are found which other machines have made in `folder` since it was last
    looked at.

    On a network file system a client remembers for up to a minute which names there are not;
    opening asks the server.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def is_there(path: Path) -> bool:
    """Return whether there is such a file now, on whichever machine it was made."""
    refresh(path.parent)
    return path.exists()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that becomes `path` at the end: a reader, or a crash, sees the old file or the
    new one, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(
        f".{path.name}.{secrets.token_hex(4)}.tmp"
    )  # beside it, for the sake of the rename
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one and
    nothing between.
    """
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write numpy arrays of numbers by name as an .npz file, atomically. It is to be read with
    `allow_pickle=False`.
    """
    import numpy as np  # late: most that write files have no arrays

    with atomic_file(path) as file:
        np.savez(file, **arrays)


def read_json(path: Path) -> Any | None:
    """Return the value in a JSON file, or None where there is no file."""
    refresh(path.parent)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from None


class RecordWriter:
    """Appends records to one attempt's file, each synced before `write` returns."""

    def __init__(self, path: Path, attempt: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._attempt = attempt
        self._file = path.open("ab")
        if self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write(
                b"\n"
            )  # closes the torn line of a process that died in the middle of it

    def write(self, record: Mapping[str, object]) -> None:
        """Append `record`, with its attempt and the time. Raises ValueError for NaN or infinity."""
        line = json.dumps(
            {**record, "attempt": self._attempt, "time": time.time()}, allow_nan=False
        )
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, or None for a torn one: the process that wrote it died, the next
    wrote it anew.
    """
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("epoch"), int) else None
