"""The table of a sweep as CSV (full precision), Markdown and on the terminal.

python -m fieldtrial.results.table.of_sweep runs/NAME writes and prints it.
"""

import argparse
import json
import sys
from collections.abc import Container, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fieldtrial.config import FIELDS
from fieldtrial.disk.files import share_with_group, write_atomically
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields import format_value
from fieldtrial.results.analysis.cost import account, cost_of_trials, say
from fieldtrial.results.analysis.groups import SET_OFF, group_trials, groups_of_rows
from fieldtrial.results.analysis.statistics import FEWEST
from fieldtrial.results.analysis.summary import Row, Summary, summarise
from fieldtrial.results.read.sweeps import Sweeps, field_texts, read_sweeps
from fieldtrial.results.table.formats import (
    NOTHING,
    Cell,
    escape_markdown,
    format_count,
    format_metric,
    format_minutes,
    format_short,
    header,
    markdown_column,
    styled,
)
from fieldtrial.results.table.layout import say_comparisons

LONGEST_NOTE = 80
WIDTH_OF_A_FILE = 400  # nothing is folded where the output is not a terminal


def write_table(folder: SweepFolder, summary: Summary) -> tuple[Path, Path]:
    """Write table.csv and table.md into the sweep's folder, each whole or not at all; return their
    paths.
    """
    csv, markdown = folder.table_path("csv"), folder.table_path("md")
    write_atomically(csv, summary.rows.to_csv(index=False).encode())
    write_atomically(markdown, render_markdown(summary).encode())
    return csv, markdown


def write_long_tables(sweeps: Sweeps) -> list[Path]:
    """Write trials.csv of each sweep: what `load` says, with the fields as they stand on a command
    line.

    A number that is none is empty there. Returns the paths of the long tables: these, and the
    records' that reading them has left (see `load_records`).
    """
    paths = []
    for name, folder in sweeps.folders.items():
        frame = sweeps.frames[name].copy()
        known = frame["configuration"].notna()  # else a field without a value would be none
        for column in frame.select_dtypes(exclude="number").columns:
            frame[column] = (
                field_texts(frame, column).where(known)
                if column in FIELDS
                else frame[column].map(_plain)
            )
        write_atomically(folder.long_table_path, frame.to_csv(index=False).encode())
        paths += [folder.long_table_path, folder.records_path]
    return paths


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


def render_markdown(summary: Summary) -> str:
    """Return the table for people, as GitHub-flavoured Markdown."""
    cells = human_cells(summary).map(escape_markdown)
    columns = [
        markdown_column(str(name), list(cells[name]), name in summary.fields) for name in cells
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))
    footer = "\n".join(f"- {escape_markdown(line)}" for line in summary.footer)
    title, text = escape_markdown(summary.name), escape_markdown(caption(summary))
    return f"# {title}\n\n{text}\n\n{table}\n\n{footer}\n"


def render_terminal(summary: Summary, set_off: Container[int] = ()) -> Group:
    """Return the table for people, to be printed by rich; the test of the rows `set_off` is bold
    and has a star.
    """
    cells = human_cells(summary)
    table = Table(title=Text(summary.name), title_justify="left")
    for name in map(str, cells):
        is_field = name in summary.fields
        table.add_column(Text(name), justify="left" if is_field else "right", overflow="fold")
    for number, row in enumerate(cells.to_dict("records")):
        strong = [number in set_off and name == header(summary.test) for name in row]
        table.add_row(
            *(styled(Cell(text, bold)) for text, bold in zip(row.values(), strong, strict=True))
        )
    return Group(table, Text(caption(summary)), *(Text(line) for line in summary.footer))


def caption(summary: Summary) -> str:
    """Return how the numbers of the table came about, in a sentence or two."""
    searched = (
        f"{', '.join(summary.searched)}: searched in each row, the winner's value. "
        if summary.searched
        else ""
    )
    return (
        f"{searched}Each row's winner has the best {summary.select}; {summary.test} is the mean of"
        " its runs with fresh seeds ± half of the 95 % t interval, n of them; with fewer than"
        f" {FEWEST} there is no interval."
    )


def human_cells(summary: Summary) -> pd.DataFrame:
    """Return the table rounded for people, all of it text; a cell without a value says why."""
    rows = (
        {str(name): value for name, value in row.items()} for row in summary.rows.to_dict("records")
    )
    return pd.DataFrame([_human_row(row, summary) for row in rows])


def _human_row(row: Row, summary: Summary) -> dict[str, str]:
    note = (
        row["note"] if len(row["note"]) <= LONGEST_NOTE else row["note"][: LONGEST_NOTE - 1] + "…"
    )
    missing = row["winner"] is None
    return {
        **{name: format_value(row[name]) for name in summary.fields},
        **{name: NOTHING if missing else format_short(row[name]) for name in summary.searched},
        header(summary.select): (
            note if missing else format_metric(summary.select, row[summary.select])
        ),
        header(summary.test): "no winner" if missing else _test(row, summary.test, note),
        "trainable": format_count(row["trainable_parameters"]),
        "parameters": format_count(row["parameters"]),
        "minutes": format_minutes(row["minutes"]),
    }


def _test(row: Row, metric: str, note: str) -> str:
    if not row["n"]:
        return note
    mean, half_width = row[f"{metric}_mean"], row[f"{metric}_half_width_95"]
    interval = "" if half_width is None else f" ± {format_metric(metric, half_width)}"
    remarks = "".join(f", {part.removeprefix('final: ')}" for part in note.split("; ") if part)
    return f"{format_metric(metric, mean)}{interval} (n={row['n']}{remarks})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and print the table of a sweep; return the exit status."""
    share_with_group()
    parser = argparse.ArgumentParser(description="Make the table of a sweep from its files.")
    parser.add_argument("folder", type=Path, help="the sweep's folder: runs/NAME")
    folder = SweepFolder(parser.parse_args(arguments).folder)
    try:
        sweeps = read_sweeps([folder.path])
        summary = summarise(folder, next(iter(sweeps.frames.values())))
        set_off, lines = _compare(sweeps, summary)
        paths = [*write_long_tables(sweeps), *write_table(folder, summary)]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)
    console.print(render_terminal(summary, set_off), *map(Text, lines), sep="\n")
    for line in (*paths, f"tensorboard --logdir {folder.path}"):
        print(line)
    return 0


def _compare(sweeps: Sweeps, summary: Summary) -> tuple[set[int], list[str]]:
    """Return the numbers of the rows to be set off, and lines: what differs, and what the trials
    have cost.
    """
    costs = say(account(sweeps.trials, cost_of_trials(sweeps.records())))
    try:
        groups = group_trials(sweeps, summary.fields, summary.test)
    except ValueError as error:
        return set(), [f"Not compared: {error}", *costs]
    set_off = {
        row for row, group in groups_of_rows(groups, summary).items() if group.mark in SET_OFF
    }
    return set_off, [*say_comparisons(groups), *costs]


if __name__ == "__main__":
    sys.exit(main())
