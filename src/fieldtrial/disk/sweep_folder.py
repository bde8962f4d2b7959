"""A sweep's folder, around its runs' directories: the only module that knows a file name in it."""

import contextlib
import itertools
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldtrial.config import ConfigError
from fieldtrial.disk.files import is_there, read_json, write_atomically, write_json
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.reading import LINES_BYTES, UnreadableError, decode, read_bytes
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import (
    BY_POSITION,
    Command,
    Cut,
    Entry,
    Fields,
    Owner,
    SweepCut,
    SweepInputs,
)
from fieldtrial.disk.sweep_description import SweepDescription


def require_name(name: str) -> None:
    """Raise ConfigError unless a sweep may have this name, which SLURM's commands get.

    scancel and squeue take a comma for the end of a name, and sbatch a new line for a command.
    """
    if "," in name or not name.isprintable():
        rule = "must have no comma and no control character: SLURM would take it for several names"
        raise ConfigError([f"{name!r}: {rule}"], "the sweep's name")


def require_path(folder: Path) -> None:
    """Raise ConfigError unless SLURM can write the logs of jobs in a sweep's folder."""
    if "\\" in (path := str(folder.resolve())):
        rule = "must have no backslash: in the names of logs, SLURM gives it a meaning of its own"
        raise ConfigError([f"{path}: {rule}"], "the sweep's folder")


class SweepFolder:
    """A sweep's directory: description, list of trials, engine's state, a run for each trial.

    The directory may be a link; no link in it is followed.

    path: as Inside where the directory itself must not be a link either: in a folder of several.
    is_kept: whether tables and the like are written into it.
    """

    is_kept = True

    def __init__(self, path: Path | str | Inside) -> None:
        self._inside = path if isinstance(path, Inside) else Inside(Path(path))
        self.path = self._inside.path
        self._description_path = self._inside / "sweep.json"
        self._trials_path = self._inside / "trials.jsonl"
        self._owner_path = self._inside / "driver.json"
        self._command_path = self._inside / "command.json"

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.resolve().name

    def run(self, trial: str) -> Run:
        """Return the run of the trial with this id."""
        return Run(self._inside / trial)

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted: runs, and others. Links to folders are
        among them, although what reads them is refused: so a run that is one is named.
        """
        return sorted(itertools.chain(*self._inside.folders()))

    def write_description(self, description: SweepDescription) -> None:
        """Write what the sweep is."""
        write_json(self._description_path, description.to_json())

    def description(self) -> SweepDescription | None:
        """Return what `describe` wrote, or None where this is no sweep's folder.

        Raises:
            ValueError: sweep.json is damaged, incomplete or of another version.
        """
        if not self.exists():
            return None
        values = read_json(self._description_path, Fields)
        return SweepDescription.from_json(values, str(self._description_path))

    def require_description(self) -> SweepDescription:
        """Return what `describe` wrote. Raises what `require` and `description` raise."""
        self.require()
        values = read_json(self._description_path, Fields)
        return SweepDescription.from_json(values, str(self._description_path))

    def exists(self) -> bool:
        """Return whether this is a sweep's folder."""
        return is_there(self._description_path)

    def require(self) -> None:
        """Raise FileNotFoundError, with the missing file, where this is no sweep's folder."""
        if not self.exists():
            raise FileNotFoundError(
                f"{self._description_path}: no such file, so {self.path} is not the folder of a"
                " sweep (runs/NAME)"
            )

    def cut(self) -> Cut | None:
        """Return how the sweep's trials cut their data; None where this is no sweep's folder."""
        known: SweepCut | None = read_json(self._description_path, SweepCut)
        return None if known is None else known.get("cut", BY_POSITION)

    def inputs(self, key: str) -> SweepInputs | None:
        """Return what the sweep's first trial on a data set or a file of weights found there.

        key: stands for the data set or the file, in letters and digits.
        """
        found: SweepInputs | None = read_json(self._inside / "inputs" / f"{key}.json", SweepInputs)
        return found

    def settle_inputs(self, key: str, inputs: SweepInputs) -> SweepInputs:
        """Return what `inputs` does, once some trial has written it: the first of all counts."""
        path = self._inside / "inputs" / f"{key}.json"
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(json.dumps(inputs).encode())
                file.flush()
                os.fsync(file.fileno())
        try:
            return self.inputs(key) or inputs
        except UnreadableError:  # its writer was killed
            write_json(path, inputs)
            return inputs

    def list_trial(self, trial: str | None, row: int | None, role: str, search: int = 0) -> None:
        """Append to the list of trials.

        role: source (without `row`), search, finalist, winner (`trial` None: there is none), final.
        search: the number of the row's search that the trial is of.
        """
        entry = {"trial": trial, "row": row, "role": role}
        # Nothing is written of the first search, as earlier versions wrote nothing of theirs.
        entry |= {"search": search} if search else {}
        with self._trials_path.open("ab") as file:
            file.write(b"\n" + json.dumps(entry).encode())

    def relist_trials(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replace the list of trials, as a whole, by entries as `trials` returns them."""
        lines = (b"\n" + json.dumps(dict(entry)).encode() for entry in entries)
        write_atomically(self._trials_path, b"".join(lines))

    def trials(self) -> list[dict[str, Any]]:
        """Return the list's entries in order, each once, where it was last added.

        Raises:
            UnreadableError: it is no file, or too long.
        """
        try:
            lines = read_bytes(self._trials_path, LINES_BYTES).splitlines()
        except FileNotFoundError:
            return []
        listed: dict[bytes, dict[str, Any]] = {}
        for line in lines:
            # a torn line, whose trial is listed again, or none of an entry
            with contextlib.suppress(UnreadableError):
                entry = decode(line, Entry, self._trials_path)
                listed.pop(line, None)  # of two winners, the one named last counts
                listed[line] = entry
        return list(listed.values())

    @property
    def state_path(self) -> Inside:
        """The engine's own state."""
        return self._inside / "engine.state"

    @property
    def queue_path(self) -> Inside:
        """The folder of the task queue, where a place has one."""
        return self._inside / "queue"

    @property
    def jobs_path(self) -> Inside:
        """The folder for what a cluster's jobs are submitted with, and what they print."""
        return self._inside / "jobs"

    @property
    def code_path(self) -> Inside:
        """The folder of the program as it was when the sweep was started."""
        return self._inside / "code"

    def owner(self) -> dict[str, Any] | None:
        """Return the driver that says it runs the sweep, or None."""
        return read_json(self._owner_path, Owner)

    def set_owner(self, owner: Mapping[str, object] | None) -> None:
        """Write which driver runs the sweep: None for no driver."""
        if owner is None:
            self._owner_path.unlink(missing_ok=True)
        else:
            write_json(self._owner_path, dict(owner))

    def write_command(self, words: Sequence[str], directory: Path) -> None:
        """Write the command that runs the sweep, and where it was given."""
        write_json(self._command_path, {"words": list(words), "directory": str(directory)})

    def command(self) -> str | None:
        """Return the command that runs the sweep, for a shell; None if it is not known."""
        known = read_json(self._command_path, Command)
        if known is None:
            return None
        return f"cd {shlex.quote(known['directory'])} && {shlex.join(known['words'])}"

    @property
    def lock_path(self) -> Inside:
        """Held by the process that runs the sweep."""
        return self._inside / "driver.lock"

    def table_path(self, suffix: str) -> Inside:
        """Return where the table is written: `suffix` is csv or md."""
        return self._inside / f"table.{suffix}"

    @property
    def pairs_path(self) -> Inside:
        """The comparisons of every pair of rows."""
        return self._inside / "pairs.csv"

    @property
    def long_table_path(self) -> Inside:
        """The table with a row for each trial."""
        return self._inside / "trials.csv"

    @property
    def records_path(self) -> Inside:
        """The records of all trials in one file."""
        return self._inside / "records.parquet"

    @property
    def report_path(self) -> Inside:
        """Where the report is written."""
        return self._inside / "report.html"
