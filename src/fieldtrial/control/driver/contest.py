"""Which rows get more seeds: a process of the results half says it from the sweep's files."""

import json
import subprocess

from fieldtrial.control.engine.loop import SweepError
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.processes import python


def runs_wanted(folder: SweepFolder) -> dict[int, int]:
    """Return how many final runs each tested row should have by now, by its number.

    Raises:
        SweepError: it cannot be said, with what the process printed.
    """
    command = python("-m", "fieldtrial.results.analysis.contest", str(folder.path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return {int(row): runs for row, runs in json.loads(done.stdout).items()}
    except ValueError:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise SweepError(
            f"{folder.path}: which rows need more seeds cannot be said: {reason}"
        ) from None
