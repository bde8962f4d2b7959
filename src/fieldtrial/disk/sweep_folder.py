"""A sweep's folder, around its runs' directories: the only module that knows a file name in it."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import is_there, read_json, write_json
from fieldtrial.disk.reading import LINES_BYTES, UnreadableError, decode, read_bytes
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Entry, Fields, Owner
from fieldtrial.disk.sweep_description import SweepDescription


class SweepFolder:
    """A sweep's directory: description, list of trials, engine's state, a run for each trial."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._description_path = self.path / "sweep.json"
        self._trials_path = self.path / "trials.jsonl"

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.resolve().name

    def run(self, trial: str) -> Run:
        """Return the run of the trial with this id."""
        return Run(self.path / trial)

    def write_description(self, description: SweepDescription) -> None:
        """Write what the sweep is."""
        write_json(self._description_path, description.to_json())

    def description(self) -> SweepDescription | None:
        """Return what `describe` wrote, or None where this is no sweep's folder.

        Raises:
            ValueError: sweep.json is damaged, incomplete or of another version.
        """
        if not is_there(self._description_path):
            return None
        values = read_json(self._description_path, Fields)
        return SweepDescription.from_json(values, str(self._description_path))

    def require_description(self) -> SweepDescription:
        """Return what `describe` wrote. Raises what `require` and `description` raise."""
        self.require()
        values = read_json(self._description_path, Fields)
        return SweepDescription.from_json(values, str(self._description_path))

    def require(self) -> None:
        """Raise FileNotFoundError, with the missing file, where this is no sweep's folder."""
        if not is_there(self._description_path):
            raise FileNotFoundError(
                f"{self._description_path}: no such file, so {self.path} is not the folder of a"
                " sweep (runs/NAME)"
            )

    def list_trial(self, trial: str | None, row: int | None, role: str, search: int = 0) -> None:
        """Append to the list of trials.

        role: source (without `row`), search, finalist, winner (`trial` None: there is none), final.
        search: the number of the row's search that the trial is of.
        """
        entry = {"trial": trial, "row": row, "role": role}
        # Nothing is written of the first search, as earlier versions wrote nothing of theirs.
        entry |= {"search": search} if search else {}
        with self._trials_path.open("a") as file:
            file.write("\n" + json.dumps(entry))

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
    def state_path(self) -> Path:
        """The engine's own state."""
        return self.path / "engine.state"

    @property
    def queue_path(self) -> Path:
        """The folder of the task queue, where a place has one."""
        return self.path / "queue"

    @property
    def jobs_path(self) -> Path:
        """The folder for what a cluster's jobs are submitted with, and what they print."""
        return self.path / "jobs"

    @property
    def code_path(self) -> Path:
        """The folder of the program as it was when the sweep was started."""
        return self.path / "code"

    def owner(self) -> dict[str, Any] | None:
        """Return the driver that says it runs the sweep, or None."""
        return read_json(self.path / "driver.json", Owner)

    def set_owner(self, owner: Mapping[str, object] | None) -> None:
        """Write which driver runs the sweep: None for no driver."""
        if owner is None:
            (self.path / "driver.json").unlink(missing_ok=True)
        else:
            write_json(self.path / "driver.json", dict(owner))

    @property
    def lock_path(self) -> Path:
        """Held by the process that runs the sweep."""
        return self.path / "driver.lock"

    def table_path(self, suffix: str) -> Path:
        """Return where the table is written: `suffix` is csv or md."""
        return self.path / f"table.{suffix}"

    @property
    def pairs_path(self) -> Path:
        """The comparisons of every pair of rows."""
        return self.path / "pairs.csv"

    @property
    def long_table_path(self) -> Path:
        """The table with a row for each trial."""
        return self.path / "trials.csv"

    @property
    def records_path(self) -> Path:
        """The records of all trials in one file."""
        return self.path / "records.parquet"

    @property
    def report_path(self) -> Path:
        """Where the report is written."""
        return self.path / "report.html"
