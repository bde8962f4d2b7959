"""The records of all trials of a sweep as one DataFrame, cached in the sweep's folder.

Ten thousand trials have half a million lines of JSON. records.parquet keeps them, with size and
modification time of each file that they came from. A trial is read again where one of these
differs, and all trials are where records.parquet cannot be read.
"""

import contextlib
import io
import json
import operator
import os
import re
import typing
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from fieldtrial.disk import schemas
from fieldtrial.disk.files import atomic_file, parse_record
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import UnreadableError, check, open_file
from fieldtrial.disk.run import Record, Run, attempts_in
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.values import is_writable

FORMAT = 1  # of records.parquet; another one is not read
COLUMNS = {"trial": pa.string(), "epoch": pa.int64(), "attempt": pa.int64(), "time": pa.float64()}
COLUMNS |= {"seconds": pa.float64(), "repeated_seconds": pa.float64(), "world_size": pa.int64()}
BYTES_AT_ONCE = 8 << 20  # of JSON
KEPT_BYTES = 4 << 30  # the most that records.parquet may hold, unpacked
CELLS_AT_ONCE = 1 << 25  # of what is read at once: of a million records each may have 33 entries
NAME = re.compile(rb'"([^"]*)":')  # of an entry, in a line as this program writes it
Stamps = dict[str, dict[str, list[int]]]


class About(typing.TypedDict):
    """What records.parquet says of itself."""

    format: typing.Literal[1]
    stamps: Stamps


def load_records(path: SweepFolder | Path | str) -> pd.DataFrame:
    """Return one row for each epoch of each trial in the sweep's folder `path`.

    Trials come in the order of the sweep's list, and their epochs ascend. Where a later attempt
    repeated an epoch, that attempt's record counts. The columns:
    trial: the name of its directory, categorical. epoch: 0 is before any training.
    attempt: the number of the attempt. time: when the record was written, in seconds since 1970.
    seconds: what the epoch took. world_size: the processes, and so devices, that it ran on.
    repeated_seconds: what earlier attempts at the same epoch took, whose work was lost.
    All that the trials record: validation_accuracy, train_loss, lr, and so on.

    Half-written lines, lines that are no record, and run directories without records are skipped,
    and so are runs that are links and files that cannot be read: `load` says of which runs. The
    records are cached in the folder, if it can be written to, and only what has changed since is
    read again.

    Raises:
        FileNotFoundError: `path` is not a sweep's folder.
    """
    folder = path if isinstance(path, SweepFolder) else SweepFolder(path)
    folder.require()
    listed = [entry["trial"] for entry in folder.trials() if entry["trial"]]
    there = filter(is_writable, folder.folders())
    names = dict.fromkeys((*listed, *there))
    stamps = {name: stamp for name in names if (stamp := folder.run(name).record_stamps())}
    kept, known = _read_kept(folder.records_path) if folder.is_kept else (None, {})
    same = [name for name in stamps if known.get(name) == stamps[name]]
    if kept is None or not len(same) == len(known) == len(stamps):
        parts = (
            []
            if kept is None
            else [kept.filter(pc.is_in(kept["trial"], pa.array(same, pa.string())))]
        )
        changed = {name: stamp for name, stamp in stamps.items() if known.get(name) != stamp}
        kept = _join([*parts, *_read(folder, changed)])
        if folder.is_kept:
            with contextlib.suppress(OSError):  # read-only, or full: the next time takes longer
                _keep(folder.records_path, kept, stamps)
    return _as_frame(kept, list(stamps))


def _read_kept(path: Inside) -> tuple[pa.Table | None, Stamps]:
    """Return the cached table and the stamps of its files, or nothing where it cannot be used."""
    try:
        with open_file(path) as file:
            if (table := _unpacked(file)) is None:
                return None, {}
        about = check(json.loads(table.schema.metadata[b"fieldtrial"]), About, path)
        types = {name: table.schema.field(name).type for name in table.column_names}
        is_whole = COLUMNS.items() <= types.items() and _is_sound(table)
        if is_whole and set(table["trial"].unique().to_pylist()) <= about["stamps"].keys():
            return table.replace_schema_metadata(None), about["stamps"]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError):
        pass  # missing, damaged, or of another format
    return None, {}


def _unpacked(file: IO[bytes]) -> pa.Table | None:
    """Return the table of a Parquet file, or None if it takes more than KEPT_BYTES.

    What the file says of its sizes is packed: a text that all rows share is there once. So texts
    are read as numbers that stand for them first.
    """
    opened = pq.ParquetFile(file)
    about, schema = opened.metadata, opened.schema_arrow
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    if about.num_columns > schemas.MOST_ENTRIES or about.num_rows * len(schema) * 8 > KEPT_BYTES:
        return None
    file.seek(0)
    table = pq.ParquetFile(file, read_dictionary=texts).read()
    for name in texts:
        chunks = table[name].chunks
        longest = [pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in chunks]
        if sum(map(operator.mul, longest, map(len, chunks))) > KEPT_BYTES:
            return None
        place = table.column_names.index(name)
        table = table.set_column(place, name, table[name].cast(pa.string()))
    return table


def _keep(path: Inside, table: pa.Table, stamps: Stamps) -> None:
    about = json.dumps({"format": FORMAT, "stamps": stamps})
    with atomic_file(path) as file:
        pq.write_table(
            table.replace_schema_metadata({"fieldtrial": about}), file, compression="zstd"
        )


def _read(folder: SweepFolder, stamps: Stamps) -> Iterator[pa.Table]:
    """Yield the records of the runs with these stamps, some runs at a time.

    Arrow parses them outside of the GIL.
    """
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(lambda part: _read_some(folder, part), _parts(stamps))


def _parts(stamps: Stamps) -> Iterator[Stamps]:
    """Yield some runs at a time: about BYTES_AT_ONCE of records, or more if one run has more."""
    part, size = Stamps(), 0
    for name, files in stamps.items():
        part[name] = files
        size += sum(length for length, _ in files.values())
        if size > BYTES_AT_ONCE:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _read_some(folder: SweepFolder, stamps: Stamps) -> pa.Table:
    pieces = []
    for name, files in stamps.items():
        run = folder.run(name)
        for attempt, world_size in _attempts(run, attempts_in(files)):
            with contextlib.suppress(OSError, UnreadableError):
                lines = run.record_lines(attempt)
                pieces.append((name, attempt, world_size, lines))
    return _one_an_epoch(_parse(pieces))


def _attempts(run: Run, attempts: Sequence[int]) -> list[tuple[int, int]]:
    """Return number and world size of each attempt with records; 1 where it is not known."""
    try:
        environment = run.environment()
    except (OSError, UnreadableError):
        environment = {}
    return [(number, environment.get(str(number), {}).get("world_size", 1)) for number in attempts]


def _parse(pieces: Sequence[tuple[str, int, int, bytes]]) -> pa.Table:
    """Return the records in (trial, attempt, world size, lines), in order."""
    table, counts = None, [lines.count(b"\n") for *_, lines in pieces]
    whole = b"".join(lines for *_, lines in pieces)
    # Arrow's parser goes down as deep as the JSON does, and takes texts that are no UTF-8. Records
    # are flat, and written in ASCII.
    is_plain = whole.count(b"{") == sum(counts) and b"[" not in whole
    # Its table has a cell for each line and name: too many where each line has names of its own.
    is_plain = is_plain and len(set(NAME.findall(whole))) <= _most_names(sum(counts))
    if is_plain and whole.isascii() and b"\\u" not in whole:
        with contextlib.suppress(pa.ArrowException):  # a torn line, or JSON that only Python reads
            table = pyarrow.json.read_json(
                io.BytesIO(whole), pyarrow.json.ReadOptions(block_size=len(whole) + 1)
            )
    if table is None or table.num_rows != sum(counts) or not _is_sound(table):
        records = [
            [record for line in lines.split(b"\n") if (record := parse_record(line))]
            for *_, lines in pieces
        ]
        counts = [len(part) for part in records]
        table = _tabulate([record for part in records for record in part])
    names, attempts, world_sizes = (
        pa.array([piece[place] for piece in pieces]) for place in range(3)
    )
    rows = pa.array(np.repeat(np.arange(len(pieces)), counts))
    about = {
        "trial": names.take(rows),
        "attempt": attempts.take(rows),
        "world_size": world_sizes.take(rows),
    }
    about |= {"repeated_seconds": pa.array(np.zeros(len(rows)))}
    given = {name: table[name] for name in table.column_names if name not in about}
    absent = {name: pa.nulls(len(rows)) for name in COLUMNS if name not in given | about}
    table = pa.table(about | given | absent)
    fixed = {name: table[name].cast(kind) for name, kind in COLUMNS.items()}
    return pa.table(fixed | {name: table[name] for name in table.column_names if name not in fixed})


def _is_sound(table: pa.Table) -> bool:
    """Return whether all records are of the schema `Record`, in columns of plain values."""
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    if "epoch" not in kinds or table["epoch"].null_count or len(kinds) > schemas.MOST_ENTRIES:
        return False
    for name, kind in kinds.items():
        is_whole = pa.types.is_integer(kind)
        is_number = is_whole or pa.types.is_floating(kind)
        if name in BOUNDS and not pa.types.is_null(kind):
            needs, low, high = BOUNDS[name]
            ends = pc.min_max(table[name]).as_py() if is_number else {}
            if not (is_whole or (is_number and needs is float)):
                return False
            if ends["min"] is not None and not (low <= ends["min"] <= ends["max"] <= high):
                return False
            if pc.any(pc.is_nan(table[name])).as_py() or pc.any(pc.is_inf(table[name])).as_py():
                return False
        elif not any(one(kind) for one in PLAIN) and not is_number:
            return False
    return True


def _bounds() -> dict[str, tuple[type, float, float]]:
    """Return type and bounds of each number of the schema `Record`."""
    found: dict[str, tuple[type, float, float]] = {}
    for name, hint in typing.get_type_hints(schemas.Record, include_extras=True).items():
        while typing.get_origin(hint) is typing.Required:
            (hint,) = typing.get_args(hint)
        options = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
        (one,) = (option for option in options if option is not type(None))
        meta = next(iter(getattr(one, "__metadata__", ())), None)
        low, high = (-np.inf, np.inf) if meta is None else (meta.ge, meta.le)
        found[name] = getattr(one, "__origin__", one), low, high
    return found


BOUNDS = _bounds()
PLAIN = (pa.types.is_null, pa.types.is_boolean, pa.types.is_string)


def _tabulate(records: Sequence[Record]) -> pa.Table:
    """Return records as a table; a column of several types becomes text.

    Of too many names the first are kept.
    """
    every = dict.fromkeys((*COLUMNS, *(name for record in records for name in record)))
    names = list(every)[: _most_names(len(records))]
    columns = {name: [record.get(name) for record in records] for name in names}
    return pa.table({name: _column(values) for name, values in columns.items()})


def _most_names(lines: int, cells: int = CELLS_AT_ONCE) -> int:
    """Return how many names a table of so many records may have; those of COLUMNS always."""
    return max(len(COLUMNS), min(schemas.MOST_ENTRIES, cells // max(1, lines)))


def _column(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _one_an_epoch(table: pa.Table) -> pa.Table:
    """Return one record an epoch: the first of an attempt, of the last attempt that has it.

    A resumed attempt begins with the record of its checkpoint, which is no repeated work.
    """
    frame = table.select(["trial", "attempt", "epoch", "seconds"]).to_pandas()
    frame = frame[~frame.duplicated(["trial", "attempt", "epoch"])]
    last = frame[~frame.duplicated(["trial", "epoch"], keep="last")]
    table = table.take(pa.array(last.index))
    if len(last) == len(frame):
        return table
    several = frame[frame.duplicated(["trial", "epoch"], keep=False)].drop_duplicates(
        ["trial", "epoch", "seconds"]
    )
    spent = several.groupby(["trial", "epoch"])["seconds"].sum().rename("spent")
    repeated = last.join(spent, on=["trial", "epoch"]).eval("spent - seconds").fillna(0.0)
    return table.set_column(
        table.column_names.index("repeated_seconds"), "repeated_seconds", pa.array(repeated)
    )


def _join(parts: Sequence[pa.Table]) -> pa.Table:
    """Return the tables as one; a column of several types becomes text.

    Of too many columns the first are kept.
    """
    parts = [pa.table({name: pa.array([], kind) for name, kind in COLUMNS.items()}), *parts]
    every = dict.fromkeys(name for part in parts for name in part.column_names)
    most = _most_names(sum(map(len, parts)), KEPT_BYTES // 8)
    if len(every) > most:
        kept = set(list(every)[:most])
        parts = [part.select([one for one in part.column_names if one in kept]) for part in parts]
    try:
        return pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    except pa.ArrowException:
        names = dict.fromkeys(name for part in parts for name in part.column_names)
        merged = {
            name: [
                part[name].to_pylist() if name in part.column_names else [None] * len(part)
                for part in parts
            ]
            for name in names
        }
        return pa.table(
            {
                name: _column([value for part in columns for value in part])
                for name, columns in merged.items()
            }
        )


def _as_frame(table: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Return the records in the order of the trials' names, epochs ascending."""
    frame: pd.DataFrame = table.to_pandas()
    frame["trial"] = frame["trial"].astype(pd.CategoricalDtype(pd.Index(names, dtype=str)))
    return frame.sort_values(["trial", "epoch"], ignore_index=True)
