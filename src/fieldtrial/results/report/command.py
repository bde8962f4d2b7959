"""fieldtrial report: a sweep's folder -> its report.

fieldtrial report runs/NAME writes it to runs/NAME/report.html.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fieldtrial.command_line import BAD_INPUT, complain, job, parse, said_if_long, say
from fieldtrial.installed.extras import require_extras


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reports of what is in a folder; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Make the report of a sweep, or of runs of no sweep, from their files."
    )
    parser.add_argument(
        "folder", type=Path, help="a sweep's folder, or one with sweeps or runs in it"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write them there, not into the sweep's folder"
    )
    options = parse(parser, arguments)
    require_extras("report")
    from fieldtrial.results.report.build import write_reports  # late: pandas and plotly

    with said_if_long("writing the report"):
        paths, problems = write_reports(options.folder, options.output)
    say("\n".join(map(str, paths)))
    if problems:
        complain("\n".join(problems), "no report")
    return BAD_INPUT if problems else 0


if __name__ == "__main__":
    sys.exit(main())
