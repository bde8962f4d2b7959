"""fieldtrial table: sweeps' folders -> their table.

fieldtrial table runs/NAME prints the table of a sweep, and writes it into its folder.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldtrial.command_line import (
    BAD_INPUT,
    ELSEWHERE,
    complain,
    job,
    parse,
    said_if_long,
    say,
)
from fieldtrial.disk.files import may_only_read
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.installed.extras import require_extras
from fieldtrial.panel.terminal import console

if TYPE_CHECKING:
    from fieldtrial.results.read.sweeps import Sweeps
    from fieldtrial.results.table.tables import Table

FORMATS = ("terminal", "csv", "pairs", "markdown", "latex", "html")
GROUPING = ("rows", "columns", "metric", "where", "within", "show")


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table that the command line asks for; return the exit status."""
    options = parse(_parser(), arguments)
    require_extras("report")
    # Late, here and below: pandas takes as long to import as a small table to make.
    from fieldtrial.results.read.sweeps import read_sweeps
    from fieldtrial.results.table.files import write_long_tables, write_table

    with said_if_long("reading the trials and comparing the rows"):
        sweeps = read_sweeps(options.folders)
        is_grouped = any(getattr(options, name) for name in GROUPING)
        is_own = len(sweeps.folders) == 1 and not is_grouped
        table = _own(sweeps, options) if is_own else _grouped(sweeps, options)
    print(_render(table, options.format), end="")
    (folder, *_) = sweeps.folders.values()
    is_kept = is_own and options.format == "terminal" and not options.pairs and folder.is_kept
    output = SweepFolder(options.output) if options.output else None
    try:
        paths = write_long_tables(sweeps, output)
        if is_kept or output:
            paths += write_table(output or folder, table)
    except OSError as error:  # somebody else's folder, whose table can still be read
        is_others = may_only_read(error)
        is_refused = is_kept and is_others and not output
        complain(f"{error}; {ELSEWHERE}" if is_refused else str(error), "not written")
        return BAD_INPUT if output or (is_kept and not is_others) else 0
    if output:
        say("\n".join(map(str, paths)))
    elif is_kept:
        say("\n".join(map(str, (*paths, f"tensorboard --logdir {folder.path}"))))
    return 0


def _own(sweeps: "Sweeps", options: argparse.Namespace) -> "Table":
    from fieldtrial.results.table.tables import sweep_table

    all_pairs = options.pairs or options.format == "pairs"
    return sweep_table(sweeps, sweeps.records(), all_pairs, options.cost)


def _grouped(sweeps: "Sweeps", options: argparse.Namespace) -> "Table":
    from fieldtrial.results.read.sweeps import parse_conditions
    from fieldtrial.results.table.tables import grouped_table

    chosen = sweeps.where(parse_conditions(options.where))
    wanted = {name: getattr(options, name) for name in GROUPING if name != "where"}
    all_pairs = options.pairs or options.format == "pairs"
    return grouped_table(chosen, chosen.records(), **wanted, all_pairs=all_pairs, cost=options.cost)


def _render(table: "Table", form: str) -> str:
    from fieldtrial.results.table import render, spreadsheet, tables

    if form in ("csv", "pairs"):
        frame = table.frame if form == "csv" else tables.pairs_frame(table)
        return spreadsheet.to_csv(frame)
    renderers = {
        "markdown": render.render_markdown,
        "latex": render.render_latex,
        "html": render.render_html,
    }
    if form in renderers:
        return renderers[form](table.grid)
    out = console()
    with out.capture() as capture:
        out.print(render.render_terminal(table.grid))
    return capture.get()


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    parser = argparse.ArgumentParser(
        description="Make a table of sweeps, and of runs of no sweep, from their files."
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER",
        help="a sweep's folder, a run's, or one with such folders in it, at any depth",
    )  # fmt: skip
    fields = "config fields, or sweep"
    parser.add_argument(
        "--rows", type=names, default=[], help=f"{fields}; by default what the sweeps compare"
    )
    parser.add_argument(
        "--columns", type=names, default=[], help=f"{fields}: their values go across"
    )
    parser.add_argument(
        "--metric", help="what the cells show, such as test_accuracy: a number of the final runs"
    )
    parser.add_argument(
        "--where", nargs="+", action="extend", default=[], metavar="FIELD=VALUE",
        help="only trials with this value; of several for a field, one of them",
    )  # fmt: skip
    parser.add_argument(
        "--within",
        type=names,
        default=[],
        help="compare those only that have equal values of these",
    )
    parser.add_argument(
        "--show",
        type=names,
        default=[],
        help="further columns: minutes, device_hours, search_cost, search_trials, search_epochs, "
        "search_device_hours, images_per_second, data_wait, utilization, energy_kwh, "
        "trainable_parameters, "
        "parameters, trainable_share, flops, accuracy_per_million_parameters, class_f1, "
        "CLASS_f1, class_ap, CLASS_ap, train_loss, train_accuracy, winner, a field, "
        "any number of the results",
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="also what the rows' runs cost, as far as it is known: device-hours, images a second,"
        " share of time that waited for data, share of the GPUs' arithmetic rate, energy",
    )
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="compare every pair of rows, not only each with the best; not written to the folder",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write the table's files there, and not into the sweep's folder",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="terminal",
        help="pairs is the comparison of every pair, as CSV",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
