"""Export to MLflow: an experiment for a sweep, with runs for the sweep, its rows and its trials.

A run is known by the tag fieldtrial.key. Its tag fieldtrial.digest is written last: where that is
what it must be, nothing is done, and where it is not, what lacks is added. So an export that was
interrupted is completed by the next one.
"""

import logging
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldtrial.fields.printable import counted
from fieldtrial.results.export.content import (
    ExportedRow,
    ExportedSweep,
    ExportedTrial,
    digest_of,
)
from fieldtrial.results.export.errors import TargetError
from fieldtrial.results.export.staging import copy_files

PREFIX = "fieldtrial."  # of the tags
KEY, DIGEST = f"{PREFIX}key", f"{PREFIX}digest"
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"  # MLflow's own tags
MOST_METRICS, MOST_OTHERS = 1000, 100  # in a request
WHOLE = 250  # characters of a parameter, which every MLflow keeps
LONGEST_TAG = 5000  # letters
# How long a server that does not answer is waited for, unless the user's environment says it.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
LOCAL = "sqlite:///"
NOISY = ("alembic", "mlflow")  # loggers that report each table of a new database


def export_mlflow(content: ExportedSweep, uri: str) -> str:
    """Bring the sweep's experiment in the store at `uri` up to date; return what was done.

    Raises:
        ValueError: MLflow cannot be imported.
        TargetError: the store does not answer, or refuses.
    """
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise ValueError(f"--to mlflow: {error}") from error
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return _Store(MlflowClient(tracking_uri=uri), content, uri).update()
    except (MlflowException, *_of_databases()) as error:
        said = [*str(error).splitlines(), type(error).__name__]
        raise TargetError(_shown(f"mlflow {uri}: {said[0]}")) from error


def _of_databases() -> tuple[type[Exception], ...]:
    """Return the errors of MLflow's database library, which it needs for databases only."""
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return ()
    return (SQLAlchemyError,)


def _shown(text: str) -> str:
    """Return a text without the passwords of the addresses in it."""
    return re.sub(r"(?<=://)[^/@\s]+@", "…@", text)


class _Store:
    """An experiment that a sweep is written to."""

    def __init__(self, client: Any, content: ExportedSweep, uri: str) -> None:
        self._client, self._content = client, content
        self._experiment = self._open_experiment(uri)
        self._known = self._find_runs()

    def update(self) -> str:
        """Write what is new; return a line on it."""
        content = self._content
        tags, files = content.tags, content.table
        digest = digest_of([tags, {name: digest_of(file.decode()) for name, file in files.items()}])
        sweep = self._run(content.name, content.name, tags)
        if self._is_old(content.name, digest):
            with tempfile.TemporaryDirectory() as folder:
                for name, file in files.items():
                    Path(folder, name).write_bytes(file)
                    self._client.log_artifact(sweep, os.fspath(Path(folder, name)))
            self._finish(sweep, content.name, content.name, tags, digest, "FINISHED")
        rows = {row.number: self._write_row(row, sweep) for row in content.rows}
        changed = 0
        for trial in content.trials:
            above = sweep if trial.row is None else rows.get(trial.row, sweep)
            changed += self._write_trial(trial, above)
        return (
            f"mlflow experiment {content.name}: {counted(changed)} of"
            f" {len(content.trials):,} new or changed"
        )

    def _open_experiment(self, uri: str) -> str:
        name = self._content.name
        if found := self._client.get_experiment_by_name(name):
            if found.lifecycle_stage != "active":
                raise TargetError(
                    f"mlflow {_shown(uri)}: its experiment {name} was deleted; restore it there"
                )
            return str(found.experiment_id)
        # MLflow puts the files of a local database into the folder that it is called from.
        place = None
        if uri.startswith(LOCAL):
            folder = Path(uri.removeprefix(LOCAL)).resolve().parent
            place = (folder / "mlartifacts" / name).as_uri()
        return str(self._client.create_experiment(name, artifact_location=place))

    def _find_runs(self) -> dict[str, Any]:
        """Return the experiment's runs by their keys."""
        found, token = dict[str, Any](), None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{KEY}` LIKE '%'", max_results=1000, page_token=token
            )
            found |= {run.data.tags[KEY]: run for run in page}
            token = page.token
            if not token:
                return found

    def _is_old(self, key: str, digest: str) -> bool:
        return key not in self._known or self._known[key].data.tags.get(DIGEST) != digest

    def _run(
        self, key: str, name: str, tags: Mapping[str, str], above: str = "", start: float = 0.0
    ) -> str:
        """Return the id of the run with this key, made if need be."""
        if key in self._known:
            return str(self._known[key].info.run_id)
        own = {KEY: key, **({PARENT: above} if above else {}), **_tags(tags)}
        started = int(1000 * (start or time.time()))
        made = self._client.create_run(self._experiment, started, own, name)
        return str(made.info.run_id)

    def _write_row(self, row: ExportedRow, sweep: str) -> str:
        digest = digest_of([row.name, row.tags, row.values])
        run = self._run(row.key, row.name, row.tags, sweep)
        if self._is_old(row.key, digest):
            known = self._known[row.key].data.metrics if row.key in self._known else {}
            gone = dict.fromkeys(known.keys() - row.values.keys(), math.nan)  # none can be deleted
            values = gone | row.values
            new = {name: value for name, value in values.items() if known.get(name) != value}
            self._log(run, [(name, value, 0.0, 0) for name, value in new.items()])
            self._finish(run, row.key, row.name, row.tags, digest, "FINISHED")
        return run

    def _write_trial(self, trial: ExportedTrial, above: str) -> bool:
        digest = trial.digest
        if not self._is_old(trial.key, digest):
            return False
        start = trial.epochs[0].time if trial.epochs else 0.0
        run = self._run(trial.key, trial.name, trial.tags, above, start)
        known = self._known[trial.key].data if trial.key in self._known else None
        params = {} if known is None else known.params
        new = [one for one in trial.parameters.items() if one[0] not in params]
        # MLflow may cut long values.
        if other := [
            name
            for name, value in trial.parameters.items()
            if len(value) < WHOLE and params.get(name, value) != value
        ]:
            raise TargetError(
                f"mlflow: {trial.key} is there with {other[0]} = {params[other[0]]}: it is another"
                " run of this name; delete it there, or rename one"
            )
        from mlflow.entities import Param

        for part in _parts([Param(name, value) for name, value in new], MOST_OTHERS):
            self._client.log_batch(run, params=part)
        there = self._steps(run, known.metrics) if known else {}
        self._log(
            run,
            [
                (name, value, epoch.time, epoch.number)
                for epoch in trial.epochs
                for name, value in epoch.values.items()
                if there.get((name, epoch.number)) != value
            ],
        )
        last = trial.epochs[-1] if trial.epochs else None
        moment, step = (last.time, last.number) if last else (0.0, 0)
        results = [
            (name, value, moment, step)
            for name, value in trial.results.items()
            if there.get((name, step)) != value
        ]
        self._log(run, results)
        with tempfile.TemporaryDirectory() as folder:
            for copy in copy_files(trial.files, Path(folder)):
                self._client.log_artifact(run, os.fspath(copy))
        ended = "FINISHED" if trial.is_good else "FAILED"
        status = ended if trial.is_over else "RUNNING"
        self._finish(run, trial.key, trial.name, trial.tags, digest, status, above, moment)
        return True

    def _steps(self, run: str, metrics: Mapping[str, float]) -> dict[tuple[str, int], float]:
        """Return the last value of each metric at each step that the store has."""
        found = dict[tuple[str, int], float]()
        for name in metrics:
            for one in self._client.get_metric_history(run, name):
                found[name, one.step] = one.value
        return found

    def _log(self, run: str, values: list[tuple[str, float, float, int]]) -> None:
        """Write metrics: name, value, time in seconds since 1970, and step of each."""
        from mlflow.entities import Metric

        made = [Metric(name, value, int(1000 * at), step) for name, value, at, step in values]
        for part in _parts(made, MOST_METRICS):
            self._client.log_batch(run, metrics=part)

    def _finish(
        self,
        run: str,
        key: str,
        name: str,
        tags: Mapping[str, str],
        digest: str,
        status: str,
        above: str = "",
        end: float = 0.0,
    ) -> None:
        """Write the tags and the status, and last the digest, which says that the run is whole.

        Tags of an earlier export that no longer hold are deleted.
        """
        from mlflow.entities import RunTag

        own = {**_tags(tags), NAME: name, **({PARENT: above} if above else {})}
        known = self._known[key].data.tags if key in self._known else {}
        for gone in known.keys() - own.keys() - {KEY, DIGEST}:
            if gone.startswith(PREFIX):
                self._client.delete_tag(run, gone)
        self._client.log_batch(run, tags=[RunTag(one, value) for one, value in own.items()])
        if status == "RUNNING":
            self._client.update_run(run, status)
        else:
            self._client.set_terminated(run, status, int(1000 * end) if end else None)
        self._client.set_tag(run, DIGEST, digest)


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"{PREFIX}{name}": value[:LONGEST_TAG] for name, value in tags.items() if value}


def _parts(values: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]
