"""Where the runs of a sweep's trials are: beside each other in its folder, or in shards.

A parallel file system bears some thousands of entries in a folder. The runs of a larger sweep are
in trials/3f/3fa91b2c: by the first two digits of their ids, which are even.
"""

import re
from pathlib import Path

from fieldtrial.disk.inside import Inside

SHARDS = "trials"  # the folder of the shards
LAYOUT = "layout.txt"  # the file in it that tells it from another folder of this name
LAYOUT_TEXT = "The runs of this sweep are in here, by the first two digits of their ids.\n"
MOST_BESIDE = 4000  # runs beside each other
TRIAL = re.compile(r"([0-9a-f]{2})[0-9a-f]{6}")


def parts_of(trial: str, is_sharded: bool) -> tuple[str, ...]:
    """Return the names on the way from a sweep's folder to a run; what is no trial is beside."""
    found = TRIAL.fullmatch(trial) if is_sharded else None
    return (SHARDS, found[1], trial) if found else (trial,)


def in_its_sweep(run: Path) -> Inside:
    """Return a run's directory as it is in its sweep's folder, which is the result's root."""
    parts = parts_of(run.name, is_sharded=True)
    if len(parts) > 1 and run.parts[-len(parts) :] == parts:
        return Inside(run.parents[len(parts) - 1], parts)
    return Inside(run.parent, (run.name,))


def beside(run: Path, trial: str) -> Inside:
    """Return the directory of another run in the sweep of a run."""
    own = in_its_sweep(run)
    return in_its_sweep(own.root.joinpath(*parts_of(trial, is_sharded=len(own.parts) > 1)))
