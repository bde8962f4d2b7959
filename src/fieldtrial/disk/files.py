"""Files as this program writes them: replaced atomically or appended to, readable by the group."""

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
    """Make the files of this process and its children group-readable and not world-writable.

    All other permissions follow the user's umask.
    """
    own = os.umask(OTHERS_WRITE)
    os.umask(own & ~GROUP_READS | OTHERS_WRITE)


def refresh(folder: Path) -> None:
    """Make files visible that other machines have created in `folder`.

    A client of a network file system caches for up to a minute that a name does not exist. Opening
    the folder asks the server.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def is_there(path: Path) -> bool:
    """Return whether a file exists now, whichever machine created it."""
    refresh(path.parent)
    return path.exists()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that replaces `path` at the end: readers see the old or the whole new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
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
    """Replace `path` by a file with `content`: readers see the old or the whole new file."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically. Raises ValueError for NaN and infinity."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write numpy arrays of numbers as .npz, atomically. Read it with `allow_pickle=False`."""
    import numpy as np  # late: the control half needs no arrays

    with atomic_file(path) as file:
        np.savez(file, **arrays)


def read_json(path: Path) -> Any | None:
    """Return a JSON file's value, or None without a file. Raises ValueError if it is not JSON."""
    refresh(path.parent)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from None


class RecordWriter:
    """Appends records to one attempt's file. Each is on disk when `write` returns."""

    def __init__(self, path: Path, attempt: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._attempt = attempt
        self._file = path.open("ab")
        if self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # ends a torn line: the process died while it wrote

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
    """Return the record in a line, or None for a torn one, which the next process wrote again."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("epoch"), int) else None
