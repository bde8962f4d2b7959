"""The run directory: the only module that knows a file name in it.

The worker writes a run's files, the engine and the table read them. Small files are written whole
or not at all. Records are appended a line at a time and synced, in a file for each attempt.
"""

import contextlib
import fnmatch
import functools
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldtrial.config import EARLIER, TrainConfig
from fieldtrial.disk import schemas
from fieldtrial.disk.files import (
    RecordReader,
    RecordWriter,
    is_there,
    read_json,
    whole_lines,
    write_atomically,
    write_json,
)
from fieldtrial.disk.inside import Inside, RefusedError
from fieldtrial.disk.reading import check, require_file
from fieldtrial.fields.former import is_former

Record = dict[str, Any]
CHECKPOINTS_KEPT = 2
CHOSEN = "-chosen"  # in the names of pictures of images that somebody chose
ARTIFACTS = re.compile(r".+\.json|command\.txt|changes-\d+\.diff|predictions-.+\.npz")
METRICS = re.compile(r"metrics-([1-9][0-9]{0,8})\.jsonl")


class Run:
    """One trial's directory. No link in it is followed.

    path: as Inside where the directory itself must not be a link either: in a sweep's folder.
    """

    def __init__(self, path: Path | str | Inside) -> None:
        self.folder = path if isinstance(path, Inside) else Inside(Path(path))
        self._config_path = self.folder / "config.json"
        self._environment_path = self.folder / "env.json"
        self.command_path = self.folder / "command.txt"  # the shell command that repeats the trial
        self._result_path = self.folder / "result.json"
        self._evaluations_path = self.folder / "evaluations.json"
        self._error_path = self.folder / "error.json"
        self.told_by = self._config_path, self._result_path, self._error_path  # how it stands
        self._stop_path = self.folder / "stop"
        self.inputs_path = self.folder / "inputs.json"  # what its numbers depend on
        self._checkpoint_folder = self.folder / "checkpoint"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @functools.cached_property
    def path(self) -> Path:
        """The directory, to be shown."""
        return self.folder.path

    @property
    def name(self) -> str:
        """The directory's name: in a sweep, the config's id."""
        return self.folder.name if self.folder.parts else self.path.resolve().name

    @classmethod
    def create(cls, path: Path | str | Inside, config: TrainConfig) -> "Run":
        """Return the run in `path`, made if need be.

        Raises:
            ConfigError: the directory holds a run of another config; the message names the fields
            that differ.
        """
        run = cls(path)
        if run.exists():
            run.require(config)
        else:
            write_json(run._config_path, config.to_dict())
        return run

    def exists(self) -> bool:
        """Return whether the directory holds a run."""
        return is_there(self._config_path)

    def require(self, config: TrainConfig) -> None:
        """Raise ConfigError, with the fields that differ, unless this is a run of `config`."""
        self.config().require(config, where=f"{self.path} holds a run of another config")

    def config(self) -> TrainConfig:
        """Return the run's config. Raises FileNotFoundError or ConfigError with the file's path."""
        return TrainConfig.from_dict(self._fields(), EARLIER, str(self._config_path))

    def as_begun(self, config: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
        """Return `config` with the defaults of the version that began the run; `given` stay."""
        return config.as_begun(self.config(), given) if is_former(self._fields()) else config

    # What the worker writes

    def attempts(self) -> list[int]:
        """Return the numbers of the attempts that a worker has begun, in order."""
        return attempts_in(self.folder.names())

    @contextlib.contextmanager
    def recorder(self, attempt: int) -> Iterator["RecordWriter"]:
        """Open the record file of `attempt` for appending."""
        with RecordWriter(self._metrics_path(attempt), attempt) as writer:
            yield writer

    def write_environment(self, attempt: int, environment: Mapping[str, object]) -> None:
        """Add what `attempt` runs on (commit, host, versions) to env.json, beside earlier ones."""
        known = {**self.environment(), str(attempt): dict(environment)}
        write_json(self._environment_path, known)

    def write_changes(self, attempt: int, diff: bytes) -> None:
        """Write the uncommitted changes of the code that `attempt` runs, as a diff."""
        write_atomically(self.folder / f"changes-{attempt}.diff", diff)

    def write_command(self, command: str) -> None:
        """Write the shell command that repeats this trial."""
        write_atomically(self.command_path, command.encode() + b"\n")

    def write_result(self, result: Mapping[str, object]) -> None:
        """Write how the trial ended well: finished or stopped. An earlier attempt's error goes."""
        write_json(self._result_path, dict(result))
        self._error_path.unlink(missing_ok=True)

    def write_evaluation(self, name: str, scores: Mapping[str, object]) -> None:
        """Add what was found on other images, called `name`, to evaluations.json."""
        write_json(self._evaluations_path, self.evaluations() | {name: dict(scores)})

    def write_error(self, kind: str, message: str, attempt: int, details: str = "") -> None:
        """Write why the trial failed, in a line. `kind`: diverged, memory, disk, outage, config,
        error or died.
        """
        error = {"kind": kind, "message": message, "attempt": attempt, "details": details}
        write_json(self._error_path, error | {"time": time.time()})

    def checkpoint_path(self, epoch: int) -> Inside:
        """Return where the checkpoint taken after `epoch` is kept."""
        return self._checkpoint_folder / f"epoch-{epoch:05d}.pt"

    @property
    def frozen_path(self) -> Inside:
        """The frozen layers' weights, where checkpoints need them to be kept."""
        return self._checkpoint_folder / "frozen.safetensors"

    def checkpoints(self) -> list[Inside]:
        """Return the checkpoints that are there, newest first."""
        names = fnmatch.filter(self._checkpoint_folder.names(), "epoch-*.pt")
        return [self._checkpoint_folder / name for name in reversed(names)]

    def keep_checkpoints(
        self, best_epoch: int | None = None, newest: int = CHECKPOINTS_KEPT
    ) -> None:
        """Remove all checkpoints but the `newest` ones and the best epoch's."""
        for path in self.checkpoints()[newest:]:
            if best_epoch is None or path != self.checkpoint_path(best_epoch):
                path.unlink(missing_ok=True)

    def remove_checkpoints(self) -> None:
        """Remove all checkpoints, and what a killed process left of one."""
        self._checkpoint_folder.rmtree()

    def begin_again(self, attempt: int) -> None:
        """Remove what the attempts before this one have done: it begins from nothing."""
        self.remove_checkpoints()
        for earlier in self.attempts():
            if earlier < attempt:
                self._metrics_path(earlier).unlink(missing_ok=True)

    @property
    def weights_path(self) -> Inside:
        """The weights of the best epoch, as safetensors; there once the trial has ended well."""
        return self.folder / "model.safetensors"

    def predictions_path(self, split: str) -> Inside:
        """Return where the best epoch's predictions for `split`, validation or test, are, of runs
        that were tested; initial_test and initial_validation are of the weights before. Arrays:
        `index` int64 (n,), the positions in the data set's store; `label` int64 (n,);
        `log_probability` float32 (n, classes).
        """
        return self.folder / f"predictions-{split}.npz"

    @property
    def tensorboard_folder(self) -> Inside:
        """Where the trial's event files go, or a folder in it that is called as the trial is."""
        return self.folder / "tb"

    def picture_path(self, name: str) -> Inside:
        """Return where a picture of what the model sees is drawn, as PNG."""
        return self.folder / "pictures" / f"{name}.png"

    def pictures(self) -> list[Inside]:
        """Return the pictures that are there, by name."""
        folder = self.folder / "pictures"
        return [folder / name for name in fnmatch.filter(folder.names(), "*.png")]

    def artifacts(self, weights: bool = False) -> list[Inside]:
        """Return the files that an export takes, of those that are there; weights: these, too."""
        names, more = self.folder.names(), [self.weights_path.name] if weights else []
        return [self.folder / one for one in names if ARTIFACTS.fullmatch(one) or one in more]

    def log_path(self, attempt: int, rank: int = 0) -> Inside:
        """Return the file for what a process of it prints; the first one's has the plain name."""
        return self.folder / "log" / f"attempt-{attempt}{f'-process-{rank}' if rank else ''}.txt"

    # What the engine writes

    def request_stop(self) -> None:
        """Ask the worker to stop, after its epoch at the latest."""
        write_atomically(self._stop_path, b"")

    def withdraw_stop(self) -> None:
        """Take back that the worker was asked to stop."""
        self._stop_path.unlink(missing_ok=True)

    def stop_requested(self) -> bool:
        """Return whether the worker was asked to stop."""
        return is_there(self._stop_path)

    # What everybody reads

    def result(self) -> dict[str, Any] | None:
        """Return how the trial ended, or None while it has not (or has failed). Raises
        UnreadableError, as all that reads the run's files does: it is not as it must be.
        """
        values: dict[str, Any] | None = read_json(self._result_path, schemas.Values)
        if values is not None:
            check(values, schemas.Result, self._result_path)
        return values

    def error(self) -> dict[str, Any] | None:
        """Return why the last attempt failed, or None."""
        return read_json(self._error_path, schemas.Failure)

    def failure(self) -> dict[str, Any] | None:
        """Return why the trial failed, or None: a later attempt ends what `error` says."""
        error = self.error()
        return None if error is None or self.newest_attempt > error["attempt"] else error

    @property
    def newest_attempt(self) -> int:
        """The number of the newest attempt that a worker has begun; 0 before the first."""
        return max(self.attempts(), default=0)

    def standing(self) -> tuple[str, dict[str, Any]]:
        """Return how the run stands: finished or stopped, with the result; failed, with the
        failure; running (or interrupted: it has begun and has no end) or waiting, with nothing.
        """
        if (result := self.result()) is not None:
            return str(result["outcome"]), result
        if (failure := self.failure()) is not None:
            return "failed", failure
        return "running" if self.attempts() else "waiting", {}

    def evaluations(self) -> dict[str, Any]:
        """Return {name: scores} of other images than the run's own; empty before the first."""
        return read_json(self._evaluations_path, dict[str, schemas.Values]) or {}

    def records(self) -> list[Record]:
        """Return one record an epoch, in order: the later attempt's where one was repeated."""
        by_epoch = {record["epoch"]: record for record in RecordReader(self).read()}
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]

    def record_lines(self, attempt: int, offset: int = 0) -> bytes:
        """Return the record file of `attempt` from byte `offset` to the last whole line's end."""
        return whole_lines(self._metrics_path(attempt), offset)

    def require_records(self) -> None:
        """Raise UnreadableError if a record file is no regular file, or too long to be read."""
        for attempt in self.attempts():
            require_file(self._metrics_path(attempt))

    def record_stamps(self) -> dict[str, list[int]]:
        """Return {name: [bytes, ns of change]} of the records' files; empty where one is a link."""
        try:
            with self.folder.entered() as folder, os.scandir(folder) as entries:
                known = [
                    (entry.name, entry.stat(follow_symlinks=False))
                    for entry in entries
                    if METRICS.fullmatch(entry.name)
                    or (entry.name == "env.json" and entry.is_file(follow_symlinks=False))
                ]
        except (FileNotFoundError, NotADirectoryError, RefusedError):
            return {}
        stamps = {name: [one.st_size, one.st_mtime_ns] for name, one in known}
        is_whole = all(stat.S_ISREG(one.st_mode) for _, one in known)
        return stamps if is_whole and any(name.startswith("metrics-") for name in stamps) else {}

    def environment(self) -> dict[str, Any]:
        """Return {attempt: what it ran on}; empty before the first."""
        return read_json(self._environment_path, dict[schemas.Attempt, schemas.Environment]) or {}

    def _fields(self) -> dict[str, Any]:
        values: dict[str, Any] | None = read_json(self._config_path, schemas.Fields)
        if values is None:
            raise FileNotFoundError(
                f"{self._config_path}: no such file, so {self.path} is not a run directory"
            )
        return values

    def _metrics_path(self, attempt: int) -> Inside:
        return self.folder / f"metrics-{attempt}.jsonl"


def attempts_in(names: Iterable[str]) -> list[int]:
    """Return the numbers of the attempts whose record files have these names, in order."""
    matches = map(METRICS.fullmatch, names)
    return sorted(int(match[1]) for match in matches if match)
