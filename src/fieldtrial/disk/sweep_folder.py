"""A sweep's folder, around its runs' directories: the only module that knows a file name in it."""

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fieldtrial.disk.files import is_there, read_json, write_atomically, write_json
from fieldtrial.disk.inside import Inside, RefusedError
from fieldtrial.disk.reading import LINES_BYTES, UnreadableError, decode, read_bytes
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import (
    BY_POSITION,
    Cut,
    Entry,
    Fields,
    SweepCut,
    SweepInputs,
)
from fieldtrial.disk.sweep_description import SweepDescription
from fieldtrial.disk.work.folder import WorkFolder
from fieldtrial.disk.work.shards import LAYOUT, LAYOUT_TEXT, MOST_BESIDE, SHARDS, parts_of


class SweepFolder(WorkFolder):
    """A sweep's directory: description, list of trials, engine's state, a run for each trial.

    The directory may be a link; no link in it is followed.

    The runs of a large sweep are in shards (see `shards`).

    path: as Inside where the directory itself must not be a link either: in a folder of several.
    is_kept: whether tables and the like are written into it.
    """

    kind = "sweep"
    is_kept = True

    def __init__(self, path: Path | str | Inside) -> None:
        super().__init__(path)
        self.description_path = self._inside / "sweep.json"
        self._trials_path = self._inside / "trials.jsonl"

    def folders(self) -> list[str]:
        """Return the names of the folders in it, sorted: runs, and others. Links to folders are
        among them, although what reads them is refused: so a run that is one is named.
        """
        names = {*itertools.chain(*self._inside.folders())}
        if self.is_sharded:
            names.discard(SHARDS)
            shards, _ = (self._inside / SHARDS).folders()
            for shard in shards:
                with contextlib.suppress(OSError):  # it cannot be read, as its listed trials say
                    names.update(*(self._inside / SHARDS / shard).folders())
        return sorted(names)

    def run(self, trial: str) -> Run:
        """Return the run of the trial with this id, or what else has this name."""
        return Run(Inside(self._inside.root, self._inside.parts + self._parts_of(trial)))

    def place_of(self, trial: str) -> str:
        """Return where that run is in the folder: names with / between them."""
        return "/".join(self._parts_of(trial))

    def make_room(self, runs: int) -> None:
        """Prepare for so many runs. A folder that has trials stays as it is."""
        if runs > MOST_BESIDE and not self.trials():
            shards = self._inside / SHARDS
            shards.mkdir(parents=True, exist_ok=True)
            write_atomically(shards / LAYOUT, LAYOUT_TEXT.encode())
            self.is_sharded = True

    def _parts_of(self, trial: str) -> tuple[str, ...]:
        return parts_of(trial, self.is_sharded)

    @functools.cached_property
    def is_sharded(self) -> bool:
        """Whether the runs of trials are in shards. Others may have made a folder of their name."""
        with contextlib.suppress(RefusedError):
            return is_there(self._inside / SHARDS / LAYOUT)
        return False

    def write_description(self, description: SweepDescription) -> None:
        """Write what the sweep is."""
        write_json(self.description_path, description.to_json())

    def description(self) -> SweepDescription | None:
        """Return what `describe` wrote, or None where this is no sweep's folder.

        Raises:
            ValueError: sweep.json is damaged, incomplete or of another version.
        """
        if not self.exists():
            return None
        values = read_json(self.description_path, Fields)
        return SweepDescription.from_json(values, str(self.description_path))

    def require_description(self) -> SweepDescription:
        """Return what `describe` wrote. Raises what `require` and `description` raise."""
        self.require()
        values = read_json(self.description_path, Fields)
        return SweepDescription.from_json(values, str(self.description_path))

    def exists(self) -> bool:
        """Return whether this is a sweep's folder."""
        return is_there(self.description_path)

    def require(self) -> None:
        """Raise FileNotFoundError, with the missing file, where this is no sweep's folder."""
        if not self.exists():
            raise FileNotFoundError(
                f"{self.description_path}: no such file, so {self.path} is not the folder of a"
                " sweep (runs/NAME)"
            )

    def cut(self) -> Cut | None:
        """Return how the sweep's trials cut their data; None where this is no sweep's folder."""
        known: SweepCut | None = read_json(self.description_path, SweepCut)
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

    def replace_inputs(self, key: str, inputs: SweepInputs) -> None:
        """Replace what the sweep's first trial has found, where nothing has come of it."""
        write_json(self._inside / "inputs" / f"{key}.json", inputs)

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

    @property
    def export_lock(self) -> Inside:
        """What an export of the sweep locks: there is one at a time."""
        return self._inside / "export.lock"
