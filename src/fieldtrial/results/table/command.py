"""The command behind jobs/table.py: sweeps' folders -> a table grouped or pivoted by any config
field.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from fieldtrial.disk.files import share_with_group
from fieldtrial.results.analysis.cost import account, cost_of_trials, say
from fieldtrial.results.analysis.groups import group_trials
from fieldtrial.results.analysis.quantities import measures, require, speed_of_trials
from fieldtrial.results.analysis.summary import test_metric
from fieldtrial.results.read.sweeps import SWEEP, Sweeps, check_field, parse_conditions, read_sweeps
from fieldtrial.results.table import of_sweep as table
from fieldtrial.results.table.formats import (
    render_html,
    render_latex,
    render_markdown,
    render_terminal,
)
from fieldtrial.results.table.layout import lay_out, order, say_comparisons, to_frame

RENDERERS = {"markdown": render_markdown, "latex": render_latex, "html": render_html}
FORMATS = ("terminal", "csv", *RENDERERS)
BESIDE = ("trainable_parameters", "parameters", "minutes")  # the metric, where nothing is pivoted


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table that the command line asks for; return the exit status."""
    share_with_group()
    options = _parser().parse_args(arguments)
    asked = [
        options.rows,
        options.columns,
        options.metric,
        options.where,
        options.show,
        options.within,
    ]
    if len(options.folders) == 1 and not any(asked) and options.format == "terminal":
        return table.main([str(options.folders[0])])
    try:
        sweeps = read_sweeps(options.folders)
        print(tabulate(sweeps, options), end="")
    except (OSError, ValueError) as error:
        print(*(f"error: {line}" for line in str(error).splitlines()), sep="\n", file=sys.stderr)
        return 2
    try:
        table.write_long_tables(sweeps)
    except OSError as error:  # somebody else's folder, whose table can still be read
        print(f"not written: {error}", file=sys.stderr)
    return 0


def tabulate(sweeps: Sweeps, options: argparse.Namespace) -> str:
    """Return the table as text.

    Raises:
        ValueError: fields, conditions or metrics that are not there.
    """
    for name in (*options.rows, *options.columns, *options.within):
        check_field(name)
    sweeps = sweeps.where(parse_conditions(options.where))
    columns = list(dict.fromkeys(options.columns))
    default = [] if options.columns else [name for name in sweeps.compared if name not in columns]
    rows = [name for name in dict.fromkeys(options.rows or default) if name not in columns]
    if outside := [name for name in options.within if name not in (*rows, *columns)]:
        raise ValueError(f"--within {','.join(outside)}: must be among --rows and --columns")
    fields = (*rows, *columns)
    groups = group_trials(
        sweeps, fields, options.metric or test_metric(sweeps.select), options.within
    )
    groups = replace(groups, groups=order(groups.groups, fields, sweeps.searched))
    records = sweeps.records()
    costs = cost_of_trials(records)
    known = measures(sweeps, groups, costs, speed_of_trials(records))
    beside = [*(name for name in sweeps.searched if name not in fields), groups.select, *BESIDE]
    names = options.show or (
        [] if columns else [name for name in dict.fromkeys(beside) if name in known]
    )
    require(names, list(known))
    shown = {name: known[name] for name in names}
    if options.format == "csv":
        return to_frame(groups, len(columns), shown).to_csv(index=False)
    footer = [*say_comparisons(groups), *groups.left_out, *say(account(sweeps.trials, costs))]
    grid = lay_out(groups, len(columns), shown, " and ".join(sweeps.folders), footer)
    if options.format in RENDERERS:
        return RENDERERS[options.format](grid)
    console = Console(width=None if sys.stdout.isatty() else table.WIDTH_OF_A_FILE, highlight=False)
    with console.capture() as capture:
        console.print(render_terminal(grid))
    return capture.get()


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    parser = argparse.ArgumentParser(
        description="Make a table of one or several sweeps from their files."
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="a sweep's folder: runs/NAME"
    )
    fields = f"config fields, or {SWEEP}"
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
        help="further columns: minutes, device_hours, images_per_second, trainable_parameters, "
        "parameters, trainable_share, flops, accuracy_per_million_parameters, winner, a field, "
        "any number of the results",
    )
    parser.add_argument("--format", choices=FORMATS, default="terminal")
    return parser
