"""A sweep's folder -> a DataFrame with a row for each trial, also while the sweep runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fieldtrial.config import FIELDS, HINTS, ConfigError, TrainConfig, field_names, is_field
from fieldtrial.disk.device_time import device_time
from fieldtrial.disk.inside import RefusedError
from fieldtrial.disk.run import Run
from fieldtrial.disk.sweep_folder import SweepFolder
from fieldtrial.fields.printable import printable
from fieldtrial.fields.values import is_writable
from fieldtrial.own.names import is_option

ENDED_WELL = ("finished", "stopped")
FAILED = ("failed", "unreadable")
RUN = "run"  # the role of a run of no sweep: it is searched, so to speak, and tested
CHOSEN_FROM, TESTED = ("search", RUN), ("final", RUN)  # roles
# Columns of every frame, also before the first trial has ended.
COLUMNS = ("trial", "row", "search", "role", "winner", "outcome", "configuration", *FIELDS)
MEASURES = (
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
    "test_loss",
    "parameters",
    "trainable_parameters",
    "epochs_recorded",
    "minutes",
    "epoch_minutes",
    "accumulate",
    "error_kind",
    "error_message",
)
LONGEST = 1000  # characters of an error's message
# What a run's result cannot say of it: such an entry's column gets another name.
OWN = {*COLUMNS, "sweep", "error_kind", "error_message"} - {"outcome"}


def load(path: SweepFolder | Path | str) -> pd.DataFrame:
    """Return one row for each trial of the sweep in the folder `path`, as listed.

    A trial that several of the sweep's rows share is there once for each. The columns:
    trial: the name of its directory. row: the number of its row, missing for a source.
    search: the number of the row's search that it is of, from 0, missing for a source.
    role: source, search, finalist, final, or unlisted for a run directory that the sweep does not
    list; run for one of no sweep, see `by_hand`. winner: whether the sweep named it its search's
    winner.
    outcome: finished, stopped (early), failed, running (or interrupted: it has begun and has no
    end), waiting (no worker has begun it), or unreadable.
    configuration: eight digits of all fields but seed and fold, equal for repetitions of a trial.
    All config fields, the options of own parts among them, and all that result.json holds:
    accuracies are fractions; its `epochs` and `classes`, which are fields too, are called
    epochs_recorded and classes_recorded.
    minutes: that devices were held, in all attempts. epoch_minutes: of them, in epochs.
    minutes_alone: what the trial takes alone, from nothing. device_hours: minutes of each process,
    in hours. Trials of earlier versions have no device_hours: their minutes are those in epochs.
    accumulate: micro-batches of a batch that did not fit into memory.
    error_kind, error_message: why a trial failed or cannot be read.

    Raises:
        FileNotFoundError: `path` is not a sweep's folder.
    """
    folder = path if isinstance(path, SweepFolder) else SweepFolder(path)
    folder.require()
    entries = folder.trials()
    # The last winner named counts. Naming a winner, or none, is no trial.
    winners = {search_of(entry): entry["trial"] for entry in entries if entry["role"] == "winner"}
    listed = [entry for entry in entries if entry["role"] != "winner" and entry["trial"]]
    names = {entry["trial"] for entry in listed}
    known = {name: read_run(folder.run(name)) for name in names}
    rows = [
        {
            **entry,
            "search": None if entry["row"] is None else search_of(entry)[1],
            "winner": entry["role"] == "search" and winners.get(search_of(entry)) == entry["trial"],
            **known[entry["trial"]],
        }
        for entry in listed
    ]
    for name in folder.folders():
        if name in names:
            continue
        run = folder.run(name)
        unlisted = read_run(run)
        # A folder without a config is no run.
        if "configuration" in unlisted or _has_config(run):
            about = {"trial": name if is_writable(name) else printable(name), "row": None}
            rows.append({**about, "role": "unlisted", "winner": False, **unlisted})
    return frame_of(rows)


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return trials as `load` does; rows: what is known of each."""
    found = {name: None for row in rows for name in row}
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys((*COLUMNS, *found, *MEASURES))))
    whole = [name for name, hint in HINTS.items() if hint in (int, int | None)]
    options = [name for name in found if is_option(name)]
    whole += [
        name
        for name in found
        if not is_field(name) and {type(row.get(name)) for row in rows} == {int, type(None)}
    ]
    # Otherwise, whole numbers beside missing ones become fractions.
    kinds: dict[str, Any] = dict.fromkeys(["row", "search", *whole], "Int64")
    # Texts as plain objects are one block: trials are chosen from a frame hundreds of times a
    # table, and each block takes its time.
    kinds |= dict.fromkeys(frame.columns[frame.dtypes == "str"].difference([*kinds]), object)
    for name in options:  # whose values may be of any type, and are no measures
        frame[name] = pd.Series([row.get(name) for row in rows], frame.index, dtype=object)
    return frame.astype(kinds).copy()


def search_of(entry: dict[str, Any]) -> tuple[int, int]:
    """Return the numbers of the row and of its search that an entry of a sweep's list is of.

    Earlier versions had one search for each row, and wrote no number.
    """
    return entry["row"], entry.get("search", 0)


def _has_config(run: Run) -> bool:
    """Return whether there is a config. What a link leads to may have one, but is not read."""
    try:
        return run.exists()
    except RefusedError:
        return True


def read_run(run: Run) -> dict[str, Any]:
    """Return outcome, configuration, config fields and measures of a run.

    Damaged files are an outcome too, then without a configuration.
    """
    try:
        if not run.folder.exists():
            return {"outcome": "waiting"}
        run.require_records()
        config = run.config()
        return {**_config_columns(config), **_ending(run)}
    except ConfigError as error:
        message = "; ".join(str(error).splitlines())
    except (OSError, ValueError) as error:
        message = str(error)
    return {"outcome": "unreadable", "error_kind": "unreadable", "error_message": _clipped(message)}


def _clipped(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…"


def _config_columns(config: TrainConfig) -> dict[str, Any]:
    fields = {name: getattr(config, name) for name in field_names([config])}
    return {**fields, "configuration": config.configuration}


def _ending(run: Run) -> dict[str, Any]:
    outcome, facts = run.standing()
    if outcome not in ("failed", "running", "waiting"):
        of_epochs = {"epoch_minutes": facts["minutes"]} if "minutes" in facts else {}
        known = facts if "device_hours" in facts else of_epochs | facts
        return {
            f"{name}_recorded" if name in OWN or is_option(name) else name: value
            for name, value in known.items()
        }
    records = run.records()
    epochs = sum(record.get("seconds") or 0.0 for record in records) / 60
    held = device_time(run)
    progress = {
        "epochs_recorded": records[-1]["epoch"] if records else 0,
        "epoch_minutes": epochs,
        **(held.entries() if held else {"minutes": epochs}),
    }
    if outcome == "failed":
        progress |= {"error_kind": facts["kind"], "error_message": _clipped(facts["message"])}
    return {"outcome": outcome, **progress}
