"""Small files written whole or not at all, JSON, and files of records that are only appended to."""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that becomes `path` at the end: a reader, or a crash, sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader, or a crash, sees the old file or the new one and nothing between."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_atomically(path, json.dumps(value, indent=1, allow_nan=False).encode() + b"\n")


def read_json(path: Path) -> Any | None:
    """Return the value in a JSON file, or None where there is no file."""
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
            self._file.write(b"\n")  # closes the torn line of a process that died in the middle of it

    def write(self, record: Mapping[str, object]) -> None:
        """Append `record`, with its attempt and the time. Raises ValueError for NaN or infinity."""
        line = json.dumps({**record, "attempt": self._attempt, "time": time.time()}, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


def parse_record(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, or None for a torn one: the process that wrote it died, the next wrote it anew."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("epoch"), int) else None
