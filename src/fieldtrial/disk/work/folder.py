"""A folder in which tasks are run, for a sweep or for videos: queue, jobs, owner, command."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldtrial.config import ConfigError
from fieldtrial.disk.files import read_json, write_json
from fieldtrial.disk.inside import Inside
from fieldtrial.disk.run import Run
from fieldtrial.disk.schemas import Command, Owner


class WorkFolder:
    """A folder with a run directory for each task, which one driver at a time sees to.

    The directory may be a link; no link in it is followed.

    path: as Inside where the directory itself must not be a link either: in a folder of several.
    kind: what is run in it, as a user calls it.
    """

    kind: str

    def __init__(self, path: Path | str | Inside) -> None:
        self._inside = path if isinstance(path, Inside) else Inside(Path(path))
        self.path = self._inside.path
        self._owner_path = self._inside / "driver.json"
        self._command_path = self._inside / "command.json"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def require_name(self) -> None:
        """Raise ConfigError unless the folder may have its name, which SLURM's commands get.

        scancel and squeue take a comma for the end of a name, and sbatch a new line for a command.
        """
        if "," in self.name or not self.name.isprintable():
            rule = (
                "must have no comma and no control character: SLURM would take it for several names"
            )
            raise ConfigError([f"{self.name!r}: {rule}"], f"the {self.kind}'s name")

    def require_path(self) -> None:
        """Raise ConfigError unless SLURM can write the logs of jobs in the folder."""
        if "\\" in (path := str(self.path.resolve())):
            rule = (
                "must have no backslash: in the names of logs, SLURM gives it a meaning of its own"
            )
            raise ConfigError([f"{path}: {rule}"], f"the {self.kind}'s folder")

    def run(self, trial: str) -> Run:
        """Return the run of the task with this name; of a trial, it is its id."""
        return Run(self._inside / trial)

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
        """The folder of the program as it was when its jobs were submitted."""
        return self._inside / "code"

    def owner(self) -> dict[str, Any] | None:
        """Return the driver that says it sees to the folder, or None."""
        return read_json(self._owner_path, Owner)

    def set_owner(self, owner: Mapping[str, object] | None) -> None:
        """Write which driver sees to it: None for no driver."""
        if owner is None:
            self._owner_path.unlink(missing_ok=True)
        else:
            write_json(self._owner_path, dict(owner))

    def write_command(self, words: Sequence[str], directory: Path) -> None:
        """Write the command that runs what is in it, and where it was given."""
        write_json(self._command_path, {"words": list(words), "directory": str(directory)})

    def command(self) -> str | None:
        """Return the command that runs what is in it, for a shell; None if it is not known."""
        known = read_json(self._command_path, Command)
        if known is None:
            return None
        return f"cd {shlex.quote(known['directory'])} && {shlex.join(known['words'])}"

    @property
    def lock_path(self) -> Inside:
        """Held by the driver."""
        return self._inside / "driver.lock"
