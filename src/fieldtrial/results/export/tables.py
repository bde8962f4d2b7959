"""Exports as files of tables: trials, epochs and rows, as CSV or Parquet."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from fieldtrial.config import is_field
from fieldtrial.disk.files import write_atomically
from fieldtrial.fields.printable import counted
from fieldtrial.results.read.sweeps import Sweeps, field_texts
from fieldtrial.results.table.spreadsheet import to_csv
from fieldtrial.results.table.tables import sweep_table

Write = Callable[[pd.DataFrame], bytes]


def export_csv(sweeps: Sweeps, folder: Path) -> str:
    """Write trials.csv, epochs.csv and rows.csv into the folder; return what was done.

    A file that would be the same stays as it is.
    """
    return _export(sweeps, folder, "csv", lambda frame: to_csv(frame).encode())


def export_parquet(sweeps: Sweeps, folder: Path) -> str:
    """Write the same as Parquet."""
    return _export(sweeps, folder, "parquet", _parquet)


def _export(sweeps: Sweeps, folder: Path, suffix: str, write: Write) -> str:
    records = sweeps.records()
    frames = {
        "trials": _plain(sweeps.trials),
        "epochs": records.astype({"trial": object}),
        "rows": sweep_table(sweeps, records).frame,
    }
    folder.mkdir(parents=True, exist_ok=True)
    changed = 0
    for name, frame in frames.items():
        path, content = folder / f"{name}.{suffix}", write(frame)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
            changed += 1
    files = counted(len(frames), "file")
    return f"{folder}: {changed} of {files} written, {counted(len(sweeps.trials))}"


def _plain(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials with texts and numbers alone: fields as on a command line."""
    frame, known = trials.copy(), trials["configuration"].notna()
    for name in frame.select_dtypes(exclude=["number", "bool"]).columns:
        if is_field(name):
            frame[name] = field_texts(frame, name).where(known)
        else:
            frame[name] = frame[name].map(_json)
    return frame


def _json(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _parquet(frame: pd.DataFrame) -> bytes:
    frame, buffer = frame.copy(), io.BytesIO()
    for place, name in enumerate(frame.columns):
        values = frame[name].dropna()
        if frame[name].dtype == object and {*map(type, values)} - {str} and not _is_number(values):
            texts = [None if pd.isna(one) else str(one) for one in frame[name]]
            frame.isetitem(place, texts)  # Parquet has one type for a column
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _is_number(values: "pd.Series[Any]") -> bool:
    return {*map(type, values)} <= {int, float}
