"""The records of all trials of a sweep as one DataFrame, cached in the sweep's folder.

Ten thousand trials have half a million lines of JSON. records.parquet keeps them, with size and
modification time of each file that they came from. A trial is read again where one of these
differs, and all trials are where records.parquet cannot be read.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from fieldtrial.disk.files import atomic_file, parse_record
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Record, Run
from fieldtrial.disk.sweep_folder import SweepFolder

FORMAT = 1  # of records.parquet; another one is not read
COLUMNS = {"trial": pa.string(), "epoch": pa.int64(), "attempt": pa.int64(), "time": pa.float64()}
COLUMNS |= {"seconds": pa.float64(), "repeated_seconds": pa.float64(), "world_size": pa.int64()}
RUNS_AT_ONCE = 250  # some megabytes of JSON
Stamps = dict[str, dict[str, list[int]]]


def load_records(path: Path | str) -> pd.DataFrame:
    """Return one row for each epoch of each trial in the sweep's folder `path`.

    Trials come in the order of the sweep's list, and their epochs ascend. Where a later attempt
    repeated an epoch, that attempt's record counts. The columns:
    trial: the name of its directory, categorical. epoch: 0 is before any training.
    attempt: the number of the attempt. time: when the record was written, in seconds since 1970.
    seconds: what the epoch took. world_size: the processes, and so devices, that it ran on.
    repeated_seconds: what earlier attempts at the same epoch took, whose work was lost.
    All that the trials record: validation_accuracy, train_loss, lr, and so on.

    Half-written lines and run directories without records are skipped, and so are runs that are
    links or have one in the place of a record file. The records are cached in
    the folder, if it can be written to, and only what has changed since is read again.

    Raises:
        FileNotFoundError: `path` is not a sweep's folder.
    """
    folder = SweepFolder(path)
    folder.require()
    listed = [entry["trial"] for entry in folder.trials() if entry["trial"]]
    names = dict.fromkeys((*listed, *folder.folders()))
    stamps = {name: stamp for name in names if (stamp := folder.run(name).record_stamps())}
    kept, known = _read_kept(folder.records_path)
    same = [name for name in stamps if known.get(name) == stamps[name]]
    if kept is None or not len(same) == len(known) == len(stamps):
        parts = (
            []
            if kept is None
            else [kept.filter(pc.is_in(kept["trial"], pa.array(same, pa.string())))]
        )
        kept = _join(
            [
                *parts,
                *_read([folder.run(name) for name in stamps if known.get(name) != stamps[name]]),
            ]
        )
        with contextlib.suppress(OSError):  # read-only, or full: the next reading takes longer
            _keep(folder.records_path, kept, stamps)
    return _as_frame(kept, list(stamps))


def _read_kept(path: Inside) -> tuple[pa.Table | None, Stamps]:
    """Return the cached table and the stamps of its files, or nothing where it cannot be used."""
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        about = json.loads(table.schema.metadata[b"fieldtrial"])
        if about["format"] == FORMAT and set(COLUMNS) <= set(table.column_names):
            return table.replace_schema_metadata(None), dict(about["stamps"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        pass  # missing, damaged, or of another format
    return None, {}


def _keep(path: Inside, table: pa.Table, stamps: Stamps) -> None:
    about = json.dumps({"format": FORMAT, "stamps": stamps})
    with atomic_file(path) as file:
        pq.write_table(
            table.replace_schema_metadata({"fieldtrial": about}), file, compression="zstd"
        )


def _read(runs: Sequence[Run]) -> Iterator[pa.Table]:
    """Yield the records of the runs, some runs at a time; Arrow parses them outside of the GIL."""
    parts = (runs[start : start + RUNS_AT_ONCE] for start in range(0, len(runs), RUNS_AT_ONCE))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(_read_some, parts)


def _read_some(runs: Sequence[Run]) -> pa.Table:
    pieces = [
        (run.name, attempt, world_size, run.record_lines(attempt))
        for run in runs
        for attempt, world_size in _attempts(run)
    ]
    return _one_an_epoch(_parse(pieces))


def _attempts(run: Run) -> list[tuple[int, int]]:
    """Return number and world size of each attempt with records; 1 where it is not known."""
    attempts = run.attempts()
    try:
        environment = run.environment()
        sizes = {number: environment[str(number)]["world_size"] for number in attempts}
    except (KeyError, TypeError, ValueError):
        sizes = {}
    return [(number, size if type(size := sizes.get(number)) is int else 1) for number in attempts]


def _parse(pieces: Sequence[tuple[str, int, int, bytes]]) -> pa.Table:
    """Return the records in (trial, attempt, world size, lines), in order."""
    table, counts = None, [lines.count(b"\n") for *_, lines in pieces]
    whole = b"".join(lines for *_, lines in pieces)
    with contextlib.suppress(pa.ArrowException):  # a torn line, or JSON that only Python reads
        table = pyarrow.json.read_json(
            io.BytesIO(whole), pyarrow.json.ReadOptions(block_size=len(whole) + 1)
        )
    if table is None or table.num_rows != sum(counts) or not _is_sound(table):
        records = [
            [record for line in lines.splitlines() if (record := parse_record(line))]
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
    """Return whether seconds and time are numbers, and every record has its epoch."""
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    numbers = [kinds[name] for name in ("seconds", "time") if name in kinds]
    whole = pa.types.is_integer(kinds.get("epoch", pa.null())) and not table["epoch"].null_count
    return whole and all(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in numbers
    )


def _tabulate(records: Sequence[Record]) -> pa.Table:
    """Return records as a table; a column of several types becomes text."""
    names = dict.fromkeys(
        ("epoch", "seconds", "time", *(name for record in records for name in record))
    )
    columns = {name: [record.get(name) for record in records] for name in names}
    for name in ("seconds", "time"):
        columns[name] = [value if type(value) in (int, float) else None for value in columns[name]]
    return pa.table({name: _column(values) for name, values in columns.items()})


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
    """Return the tables as one, with all columns; a column of several types becomes text."""
    parts = [pa.table({name: pa.array([], kind) for name, kind in COLUMNS.items()}), *parts]
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
