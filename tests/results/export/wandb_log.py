"""Reads the records that wandb writes offline: protocol buffers in LevelDB's log format.

Each block of 32 KiB has chunks, with a checksum, a length and a kind before each: whole, or the
first, a middle or the last part of a record. The file begins with seven bytes of wandb's own.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEAD = 32 << 10, 7
WHOLE, FIRST, LAST = 1, 2, 4


def records_of(file: Path) -> Iterator[Any]:
    """Yield the records of a .wandb file."""
    data, at, parts = file.read_bytes(), HEAD, b""
    assert data[:4] == b":W&B"
    while at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEAD])
        at += HEAD
        parts = data[at : at + length] if kind in (WHOLE, FIRST) else parts + data[at : at + length]
        at += length
        if kind in (WHOLE, LAST):
            yield wandb_internal_pb2.Record.FromString(parts)
