"""The table of a sweep as CSV (full precision), Markdown and on the terminal.

python -m fieldtrial.results.table runs/NAME writes and prints it.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from fieldtrial.files import share_with_group, write_atomically
from fieldtrial.results.summary import Row, Summary, summarise
from fieldtrial.run import SweepFolder
from fieldtrial.values import format_value

LONGEST_NOTE = 80
WIDTH_OF_A_FILE = 400  # nothing is folded where the output is not a terminal
NOTHING = "–"


def write_table(folder: SweepFolder, summary: Summary) -> tuple[Path, Path]:
    """Write table.csv and table.md into the sweep's folder, each whole or not at all; return their paths."""
    csv, markdown = folder.table_path("csv"), folder.table_path("md")
    write_atomically(csv, summary.rows.to_csv(index=False).encode())
    write_atomically(markdown, render_markdown(summary).encode())
    return csv, markdown


def render_markdown(summary: Summary) -> str:
    """Return the table for people, as GitHub-flavoured Markdown."""
    cells = human_cells(summary).map(_escape)
    columns = [_markdown_column(str(name), list(cells[name]), name in summary.fields) for name in cells]
    table = "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))
    footer = "\n".join(f"- {_escape(line)}" for line in summary.footer)
    return f"# {_escape(summary.name)}\n\n{_escape(caption(summary))}\n\n{table}\n\n{footer}\n"


def render_terminal(summary: Summary) -> Group:
    """Return the table for people, to be printed by rich."""
    cells = human_cells(summary)
    table = Table(title=Text(summary.name), title_justify="left")
    for name in map(str, cells):
        is_field = name in summary.fields
        table.add_column(Text(name), justify="left" if is_field else "right", overflow="fold")
    for row in cells.itertuples(index=False):
        table.add_row(*(Text(cell) for cell in row))
    return Group(table, Text(caption(summary)), *(Text(line) for line in summary.footer))


def caption(summary: Summary) -> str:
    """Return how the numbers of the table came about, in a sentence or two."""
    searched = f"{', '.join(summary.searched)}: searched in each row, the winner's value. " if summary.searched else ""
    return (
        f"{searched}Each row's winner has the best {summary.select}; "
        f"{summary.test} is the mean of its runs with fresh seeds ± half of the 95 % t interval, n of them."
    )


def human_cells(summary: Summary) -> pd.DataFrame:
    """Return the table rounded for people, all of it text; a cell without a value says why."""
    rows = ({str(name): value for name, value in row.items()} for row in summary.rows.to_dict("records"))
    return pd.DataFrame([_human_row(row, summary) for row in rows])


def _human_row(row: Row, summary: Summary) -> dict[str, str]:
    note = row["note"] if len(row["note"]) <= LONGEST_NOTE else row["note"][: LONGEST_NOTE - 1] + "…"
    missing = row["winner"] is None
    return {
        **{name: format_value(row[name]) for name in summary.fields},
        **{name: NOTHING if missing else _value(row[name]) for name in summary.searched},
        _header(summary.select): note if missing else _metric(summary.select, row[summary.select]),
        _header(summary.test): "no winner" if missing else _test(row, summary.test, note),
        "trainable": _count(row["trainable_parameters"]),
        "parameters": _count(row["parameters"]),
        "minutes": _minutes(row["minutes"]),
    }


def _test(row: Row, metric: str, note: str) -> str:
    if not row["n"]:
        return note
    mean, half_width = row[f"{metric}_mean"], row[f"{metric}_half_width_95"]
    interval = "" if half_width is None else f" ± {_metric(metric, half_width)}"
    remarks = "".join(f", {part.removeprefix('final: ')}" for part in note.split("; ") if part)
    return f"{_metric(metric, mean)}{interval} (n={row['n']}{remarks})"


def _header(metric: str) -> str:
    return metric.replace("_", " ") + (" %" if metric.endswith("accuracy") else "")


def _metric(metric: str, value: float) -> str:
    return f"{100 * value:.2f}" if metric.endswith("accuracy") else f"{value:.4f}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _minutes(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def _markdown_column(name: str, cells: list[str], left: bool) -> list[str]:
    """Return a column's lines, padded: its head, the rule (which aligns it to the left or right), its cells."""
    width = max(3, *map(len, (name, *cells)))
    rule = ":" + "-" * (width - 1) if left else "-" * (width - 1) + ":"
    return [text.ljust(width) if left else text.rjust(width) for text in (name, rule, *cells)]


def _escape(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, also inside a table."""
    return re.sub(r"([\\`*<>\[\]|~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and print the table of a sweep; return the exit status."""
    share_with_group()
    parser = argparse.ArgumentParser(description="Make the table of a sweep from its files.")
    parser.add_argument("folder", type=Path, help="the sweep's folder: runs/NAME")
    folder = SweepFolder(parser.parse_args(arguments).folder)
    try:
        summary = summarise(folder)
        csv, markdown = write_table(folder, summary)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False)
    console.print(render_terminal(summary))
    for line in (csv, markdown, f"tensorboard --logdir {folder.path}"):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
