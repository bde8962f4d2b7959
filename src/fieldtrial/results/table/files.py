"""The files of tables in a sweep's folder."""

import json
from pathlib import Path

from fieldtrial.config import is_field
from fieldtrial.disk.files import write_atomically
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.read.sweeps import Sweeps, field_texts, places
from fieldtrial.results.table.render import render_markdown
from fieldtrial.results.table.spreadsheet import to_csv
from fieldtrial.results.table.tables import Table, pairs_frame


def write_table(folder: SweepFolder, table: Table) -> list[Path]:
    """Write table.csv and table.md into the sweep's folder, and return their paths.

    A sweep that compares every pair has pairs.csv too.
    """
    csv, markdown = folder.table_path("csv"), folder.table_path("md")
    write_atomically(csv, to_csv(table.frame).encode())
    write_atomically(markdown, render_markdown(table.grid).encode())
    if not table.groups.all_pairs:
        return [csv.path, markdown.path]
    write_atomically(folder.pairs_path, to_csv(pairs_frame(table)).encode())
    return [csv.path, markdown.path, folder.pairs_path.path]


def write_long_tables(sweeps: Sweeps, output: SweepFolder | None = None) -> list[Path]:
    """Write trials.csv of each sweep: what `load` says, fields as texts of a command line.

    output: the folder for it instead of the sweep's; of several sweeps, a folder in it for each.

    A cell without a value is empty there. Returns the paths of the long tables: these, and the
    records' that reading them has left (see `load_records`).
    """
    paths = []
    apart = places(list(sweeps.folders.values()))
    for (name, own), place in zip(sweeps.folders.items(), apart, strict=True):
        if not output and not own.is_kept:
            continue
        folder = own
        if output:
            folder = output if len(sweeps.folders) == 1 else SweepFolder(output.path / place)
        frame = sweeps.frames[name].copy()
        known = frame["configuration"].notna()  # else a field without a value would be none
        for column in frame.select_dtypes(exclude="number").columns:
            frame[column] = (
                field_texts(frame, column).where(known)
                if is_field(column)
                else frame[column].map(_plain)
            )
        write_atomically(folder.long_table_path, to_csv(frame).encode())
        paths += [folder.long_table_path.path, own.records_path.path]
    return paths


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value
