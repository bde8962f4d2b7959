"""How many final runs each row of a sweep should have by now, where its seeds are `until(most)`.

python -m fieldtrial.results.analysis.contest runs/NAME prints it as JSON, by the rows' numbers.
"""

import json
import sys
from collections.abc import Sequence

from fieldtrial.command_line import job
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.results.analysis.grouping import group_rows
from fieldtrial.results.read.sweeps import read_sweep


def runs_wanted(folder: SweepFolder) -> dict[int, int]:
    """Return the final runs that rows should have; rows that cannot be compared are left out."""
    groups = group_rows(read_sweep(folder)).groups
    return {group.number: group.given for group in groups if group.given is not None}


@job()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the final runs that rows should have; return the exit status."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    print(json.dumps(runs_wanted(SweepFolder(path))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
